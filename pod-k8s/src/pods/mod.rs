//! Pods: made from a specification, read back, waited for, removed.

mod create;
mod failure;
mod names;
mod remove;
mod spec;
mod starts;
mod state;

pub(crate) use create::create;
pub(crate) use failure::waiting;
pub(crate) use names::pod_name;
pub(crate) use remove::{remove, take_back};
pub(crate) use spec::{Marks, build, is_shown, mark};
pub(crate) use starts::{Starts, cause};
pub(crate) use state::{is_lost, main_of, name_of, workload_of};
