//! How values of flags are read where clap does not know it.

/// A count; `sglang-router` writes no limit as -1.
pub(crate) fn count_or_none(text: &str) -> Result<usize, String> {
    if text == "-1" {
        Ok(0)
    } else {
        text.parse().map_err(|_| "allowed: a count; 0 or -1 = no limit".to_owned())
    }
}
