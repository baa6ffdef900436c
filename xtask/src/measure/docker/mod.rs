//! The measures of `cargo xtask bench --on docker`, on the lab's daemon: POD beside Docker's own client and
//! the one for Python.

mod bare;
mod copy;
mod exec;
mod files;
mod start;
mod world;

use super::table::Row;
use pod::Error;
use world::Daemon;

/// The names for `--only`.
pub(super) const MEASURES: &[&str] = &["exec", "copy", "files", "start"];

/// Takes the measures; the sentence is for below their table.
pub(super) async fn take(runs: usize, only: &[String]) -> Result<(Vec<Row>, Option<String>), Error> {
    let daemon = Daemon::make().await?;
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    let mut rows = Vec::new();
    if wanted("exec") {
        rows.extend(exec::exec(&daemon, runs).await?);
    }
    if wanted("copy") {
        rows.extend(copy::copy(&daemon).await?);
    }
    if wanted("files") {
        rows.extend(files::files(&daemon).await?);
    }
    if wanted("start") {
        rows.push(start::start(&daemon, runs)?);
    }
    Ok((rows, Some(daemon.versions()?)))
}
