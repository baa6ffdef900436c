//! The cases.

mod addresses;
mod copy_files;
mod copy_resume;
mod copy_safety;
mod copy_trees;
mod cross;
mod exec;
mod exec_control;
mod exec_streams;
mod forward;
mod lifecycle;
mod limits;
mod logs;
mod mounts;
mod network;
mod os;
mod plan;
mod ports;
mod reach;
mod removal;
mod restart;
mod settings;
mod stdio;
pub(crate) mod unsupported;

use crate::Case;

/// Every case, in the order of the groups.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        lifecycle::CASES,
        removal::CASES,
        settings::CASES,
        limits::CASES,
        mounts::CASES,
        ports::CASES,
        restart::CASES,
        logs::CASES,
        stdio::CASES,
        exec::CASES,
        exec_streams::CASES,
        exec_control::CASES,
        forward::CASES,
        copy_files::CASES,
        copy_trees::CASES,
        copy_resume::CASES,
        copy_safety::CASES,
        network::CASES,
        addresses::CASES,
        reach::CASES,
        plan::CASES,
        os::CASES,
        cross::CASES,
    ]
    .concat()
}
