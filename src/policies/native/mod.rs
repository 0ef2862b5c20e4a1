//! Built-in policies, one file each. Their names are reserved: no plugin may take one.

pub mod sampling;
pub mod turns;
pub mod random;
pub mod round_robin;
pub mod power_of_two;
pub mod least_load;
pub mod consistent_hash;
pub mod native_policy;
#[cfg(test)]
mod evenness;

pub use crate::policies::native::native_policy::NativePolicy;
