//! The real command, with an environment of its own and the backend in memory.

mod completions;
mod errors;
mod help;
mod k8s;
mod output;
mod programs;
mod support;
mod terminal;
mod topology;
