//! Log lines on stderr.

use crate::args::{Globals, LogFormat};
use pod::{Error, ErrorKind, Result};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// Begins to log as the flags say: warnings unless told more or less.
pub(crate) fn begin(globals: &Globals) -> Result<()> {
    let level = match globals.verbose {
        _ if globals.quiet => LevelFilter::ERROR,
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(globals.color.for_stderr())
        .with_max_level(level);
    match &globals.log {
        None => match globals.log_format {
            LogFormat::Text => builder.without_time().with_target(false).init(),
            LogFormat::Json => builder.json().init(),
        },
        Some(filter) => {
            let filter = EnvFilter::try_new(filter).map_err(|e| {
                Error::new(ErrorKind::ConfigInvalid, "the log filter is not understood")
                    .with_context("log", filter)
                    .with_hint("write a level such as debug, or TARGET=LEVEL,…")
                    .with_source(e)
            })?;
            match globals.log_format {
                LogFormat::Text => builder.with_env_filter(filter).init(),
                LogFormat::Json => builder.with_env_filter(filter).json().init(),
            }
        }
    }
    Ok(())
}
