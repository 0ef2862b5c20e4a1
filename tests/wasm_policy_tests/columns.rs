//! The column form: what a guest is sent, and that it can read it in place.
