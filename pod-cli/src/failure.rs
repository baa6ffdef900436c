//! Errors on stderr: a sentence, or JSON with `-o json`.

use crate::args::{Globals, OutputFormat};
use crate::exit::Exit;
use pod::Error;
use std::error::Error as _;
use std::io::Write;

/// Prints an error and gives its exit code.
pub(crate) fn report(globals: &Globals, error: &Error) -> Exit {
    let text = match globals.output {
        Some(OutputFormat::Json) => json(error),
        _ => human(error, globals.color.for_stderr()),
    };
    // There is nowhere left to say that stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
    Exit::of_error(error)
}

/// One line of JSON.
fn json(error: &Error) -> String {
    serde_json::to_string(error).unwrap_or_else(|e| format!("{{\"kind\":\"unexpected\",\"message\":\"{e}\"}}"))
}

/// The error's own line, then one for each cause.
fn human(error: &Error, color: bool) -> String {
    let red = anstyle::AnsiColor::Red.on_default().effects(anstyle::Effects::BOLD);
    let mut text = if color { format!("{red}pod:{red:#} ") } else { "pod: ".into() };
    text.push_str(&clean(&error.to_string()));
    let mut next = error.source();
    let mut said = error.to_string();
    while let Some(cause) = next {
        let line = cause.to_string();
        // A cause that only repeats what was said tells nothing.
        if !said.contains(&line) {
            text.push_str("\n  because: ");
            text.push_str(&clean(&line));
        }
        said = line;
        next = cause.source();
    }
    text
}

/// Whether it is about a pipe whose reader has gone.
pub(crate) fn is_closed_pipe(error: &Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// The text with what could steer a terminal made visible; newlines stay.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod::ErrorKind;

    #[test]
    fn causes_follow_and_escape_sequences_do_not_pass() {
        let inner = Error::new(ErrorKind::NotFound, "no such bridge");
        let e = Error::new(ErrorKind::Conflict, "attach\u{1b}[31m").with_context("workload", "web").with_source(inner);
        assert_eq!(human(&e, false), "pod: attach\\u{1b}[31m (workload: web)\n  because: no such bridge");
    }

    #[test]
    fn json_has_kind_and_message() {
        let e = Error::not_found("workload", "web").with_operation("exec");
        let v: serde_json::Value = serde_json::from_str(&json(&e)).expect("json");
        assert_eq!(v["kind"], "not_found");
        assert_eq!(v["operation"], "exec");
        assert_eq!(v["context"]["workload"], "web");
    }
}
