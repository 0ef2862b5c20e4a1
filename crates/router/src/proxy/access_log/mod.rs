//! The access log: a line for each request, for those who look at requests and not at decisions.
//!
//! ```text
//!  answer's end ─ RequestAccount ─ line form ─► buffer of the thread ─► thread `sgl-access-log` ─► file, stdout
//! ```
//!
//! A request whose line is wanted costs a few copies and its line; lines are gathered and written on a thread
//! of their own. Without an access log nothing of this happens.

mod written_time;
mod request_account;
mod line_form;
mod line_buffers;
mod log_file;
mod line_writer;

pub(crate) use crate::proxy::access_log::line_writer::AccessLog;
pub(crate) use crate::proxy::access_log::log_file::LogFile;
pub(crate) use crate::proxy::access_log::request_account::RequestAccount;
pub(crate) use crate::proxy::access_log::written_time::rfc3339;
