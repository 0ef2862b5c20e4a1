//! TLS to those who connect: certificates, their files, and how they are followed.
//!
//! TLS to workers is of [`sgl_upstream`]; its files are followed here.

mod listener_tls;
mod certificate_watch;

pub(crate) use crate::tls::certificate_watch::{CertificateChange, CertificateWatch};
pub(crate) use crate::tls::listener_tls::ListenerTls;
