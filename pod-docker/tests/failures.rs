//! What goes wrong.
mod lab;
