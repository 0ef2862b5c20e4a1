//! How a detached signature comes along with a module.

/// Header that brings a module's detached signature, in hex: the body is the module and nothing else.
pub const SIGNATURE_HEADER: &str = "x-sgl-module-signature";
