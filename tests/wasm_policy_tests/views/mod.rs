//! Host and guest see the same: what the host writes goes through a real guest, which hands every
//! message back as it came, and is read by the SDK that plugins are written with.

mod changes;
mod echo;
mod expected;
mod inputs;
mod messages;
mod recorder;
mod view;
