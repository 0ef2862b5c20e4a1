//! Wire types shared by host and guest.
