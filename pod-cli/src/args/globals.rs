//! Flags of every command.

use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use std::path::PathBuf;

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// The backend that bare names mean: an address such as local:, or a name of the configuration
    #[arg(short, long, global = true, value_name = "URI", env = "POD_BACKEND")]
    pub(crate) backend: Option<String>,

    /// How to print data; with json, errors are JSON too
    #[arg(short, long, global = true, value_name = "FORMAT", env = "POD_OUTPUT")]
    pub(crate) output: Option<OutputFormat>,

    /// Print no progress and no remarks
    #[arg(short, long, global = true, env = "POD_QUIET")]
    pub(crate) quiet: bool,

    /// Log more: -v what is done, -vv every call, -vvv everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "POD_VERBOSE")]
    pub(crate) verbose: u8,

    /// Which log lines to print, as TARGET=LEVEL,… or LEVEL
    #[arg(long, global = true, value_name = "FILTER", env = "POD_LOG")]
    pub(crate) log: Option<String>,

    /// How to print log lines
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", env = "POD_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,

    /// When to use colors
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "POD_COLOR")]
    pub(crate) color: ColorChoice,

    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", env = "POD_CONFIG", value_hint = clap::ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Aligned columns
    #[default]
    Table,
    /// More columns
    Wide,
    /// JSON, of a stable form
    Json,
    /// YAML, of the same form
    Yaml,
    /// Names only, one a line
    Name,
}

/// How log lines are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// When colors are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ColorChoice {
    fn on(self, terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            // <https://no-color.org>: set and not empty.
            Self::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        }
    }

    /// Whether to color what goes to stderr.
    pub(crate) fn for_stderr(self) -> bool {
        self.on(std::io::stderr().is_terminal())
    }

    /// Whether to color what goes to stdout.
    pub(crate) fn for_stdout(self) -> bool {
        self.on(std::io::stdout().is_terminal())
    }
}
