//! A router that embeds the library; what it does is in `tests/`.
