//! The endpoint picker, behind the real Envoy.

mod rig;
mod printed;
mod modes;
mod picks;
mod outcomes;
mod strange_picker;
mod failures;
mod kills;
mod swaps;
mod health;
mod held_bodies;
