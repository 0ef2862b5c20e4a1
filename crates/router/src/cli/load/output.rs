//! Where reports go.

use std::fs::File;
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::load::args::LoadArgs;
use crate::cli::load::error::LoadError;
use sgl_tools::load::{Summary, html_page, text_table};

/// The files of the reports, opened before the run: an hour of load must not end at a directory that
/// does not exist.
#[derive(Debug)]
pub(crate) struct Outputs {
    json: Option<(PathBuf, Option<File>)>,
    html: Option<(PathBuf, File)>,
}

impl Outputs {
    /// Opens the files that the flags name, and empties them.
    ///
    /// # Errors
    ///
    /// [`LoadError::Report`].
    pub(crate) fn open(args: &LoadArgs) -> Result<Self, LoadError> {
        let json = match &args.json {
            Some(path) if path.as_os_str() == "-" => Some((path.clone(), None)),
            Some(path) => Some((path.clone(), Some(create(path)?))),
            None => None,
        };
        let html = match &args.html {
            Some(path) => Some((path.clone(), create(path)?)),
            None => None,
        };
        Ok(Self { json, html })
    }

    /// Writes all reports: the table to standard output, unless JSON goes there.
    ///
    /// # Errors
    ///
    /// [`LoadError::Report`] for the first that could not be written.
    pub(crate) fn write(self, summary: &Summary) -> Result<(), LoadError> {
        let stdout = |text: &str| {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(failed(Path::new("-")))
        };
        if let Some((path, mut file)) = self.html {
            file.write_all(html_page(summary).as_bytes()).map_err(failed(&path))?;
        }
        let json = || summary.to_json() + "\n";
        match self.json {
            Some((_, None)) => stdout(&json()),
            Some((path, Some(mut file))) => {
                file.write_all(json().as_bytes()).map_err(failed(&path))?;
                stdout(&text_table(summary))
            }
            None => stdout(&text_table(summary)),
        }
    }
}

fn create(path: &Path) -> Result<File, LoadError> {
    File::create(path).map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> LoadError {
    let path = path.to_owned();
    |source| LoadError::Report { path, source }
}
