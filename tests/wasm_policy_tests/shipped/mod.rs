//! All plugins of `plugins/`, found by their folders, each as it was built: through what is hard for
//! policies in general.

mod asked;
mod hardship;
mod month;
