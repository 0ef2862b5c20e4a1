//! The command line: its own flags, those of other routers, and what it prints of itself.

mod lines;

mod environment;
mod examples;
mod flags_of_others;
mod manifests;
mod printed;
mod serving;
