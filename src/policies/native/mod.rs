//! Built-in policies, one file each. Their names are reserved: no plugin may take one.

mod sampling;
mod turns;
mod random;
mod round_robin;
mod power_of_two;
mod least_load;
mod consistent_hash;
pub(crate) mod native_policy;
#[cfg(test)]
mod evenness;
