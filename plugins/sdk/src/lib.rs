//! SDK for plugin authors.
