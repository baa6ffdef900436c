//! The measures of `cargo xtask bench`: each thing is done in turn by POD, by the tools a user would
//! otherwise pick, and by the barest program that can do it (the floor). Medians count.

mod apart;
mod copy;
pub(crate) mod docker;
mod exec;
pub(crate) mod k8s;
mod python;
mod start;
mod table;
mod tree;
mod up;
mod world;

use crate::bench::Group;
use clap::Parser;
use pod::Error;
use std::process::ExitCode;
use table::Row;
use world::World;

/// What to measure
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Where
    #[arg(long, value_enum, default_value_t)]
    on: Group,

    /// How often each short thing is done
    #[arg(long)]
    runs: usize,

    /// Only these measures
    #[arg(long)]
    only: Vec<String>,
}

/// The names for `--only` on this machine.
const MEASURES: &[&str] = &["version", "exec", "start", "copy", "up"];

/// Takes the measures and prints their table.
pub(crate) fn measure(args: &Args) -> Result<ExitCode, String> {
    let measures = match args.on {
        Group::Local => MEASURES,
        Group::Docker => docker::MEASURES,
        Group::K8s => k8s::MEASURES,
    };
    if let Some(unknown) = args.only.iter().find(|o| !measures.contains(&o.as_str())) {
        return Err(format!("no measure {unknown}; there are: {}", measures.join(", ")));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    let taken = runtime.block_on(async {
        match args.on {
            Group::Local => take(args).await,
            Group::Docker => docker::take(args.runs, &args.only).await,
            Group::K8s => k8s::take(args.runs, &args.only).await,
        }
    });
    let (rows, note) = taken.map_err(|e| explain(&e))?;
    print!("{}", table::print(&rows));
    if let Some(note) = note {
        println!("\n{note}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn take(args: &Args) -> Result<(Vec<Row>, Option<String>), Error> {
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|o| o == name);
    let world = World::make().await?;
    let mut rows = Vec::new();
    if wanted("version") {
        rows.push(exec::version(&world, args.runs)?);
    }
    if wanted("exec") {
        rows.extend(exec::exec(&world, args.runs).await?);
    }
    if wanted("start") {
        rows.extend(start::start(&world, args.runs)?);
    }
    if wanted("copy") {
        rows.extend(copy::copy(&world).await?);
    }
    if wanted("up") {
        rows.extend(up::up(&world).await?);
    }
    Ok((rows, world.note.map(String::from)))
}

fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text += &format!("\n  because: {inner}");
        cause = inner.source();
    }
    text
}
