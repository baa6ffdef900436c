//! The measures of `cargo xtask bench`: each thing is done in turn by POD, by the tools a user would
//! otherwise pick, and by the barest program that can do it (the floor). Medians count.

mod apart;
mod copy;
mod exec;
mod start;
mod table;
mod up;
mod world;

use clap::Parser;
use pod::Error;
use std::process::ExitCode;
use table::Row;
use world::World;

/// What to measure
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// How often each short thing is done
    #[arg(long)]
    runs: usize,

    /// Only these measures
    #[arg(long)]
    only: Vec<String>,
}

/// The names for `--only`.
const MEASURES: &[&str] = &["version", "exec", "start", "copy", "up"];

/// Takes the measures and prints their table.
pub(crate) fn measure(args: &Args) -> Result<ExitCode, String> {
    if let Some(unknown) = args.only.iter().find(|o| !MEASURES.contains(&o.as_str())) {
        return Err(format!("no measure {unknown}; there are: {}", MEASURES.join(", ")));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    let (rows, note) = runtime.block_on(take(args)).map_err(|e| explain(&e))?;
    print!("{}", table::print(&rows));
    if let Some(note) = note {
        println!("\n{note}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn take(args: &Args) -> Result<(Vec<Row>, Option<&'static str>), Error> {
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
    Ok((rows, world.note))
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
