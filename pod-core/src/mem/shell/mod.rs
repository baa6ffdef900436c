//! The simulated shell: the part of the POSIX Shell Command Language that scripts use.
//!
//! It has pipelines, lists, `&`, subshells, groups, `if`, `while`, `until`, `for`, `case`, functions,
//! quotes, parameters with `- = ? + # ##  % %%` and lengths, command substitution, arithmetic without
//! assignment, field splitting, patterns, redirections of the streams 0 to 2, here-documents, traps,
//! and the built-ins that `Shell::builtin` lists. It has no aliases, no job control, no `<>`, no streams
//! above 2 and no options but `-e`, `-u` and `-c`; each of these is an error, never passed over.

mod builtins;
mod expand;
mod parse;
mod pattern;
mod run;
mod syntax;
#[cfg(test)]
mod tests;

use super::process::{Disposition, Launch, Proc};
use super::procfs;
use super::program::{Program, ProgramContext, Programs};
use super::programs;
use super::stdio::{ProgramInput, ProgramOutput, Sink};
use crate::{ExitStatus, Signal};
use parse::SyntaxError;
use std::collections::BTreeMap;
use std::sync::Arc;
use syntax::{Command, List};
use tokio::io::AsyncReadExt;

pub(super) fn register(all: &Programs) {
    programs::add(all, "sh", sh);
}

/// A value, and whether it is exported.
type Variable = (Vec<u8>, bool);

/// What a shell's subshells get a copy of.
#[derive(Debug, Clone)]
struct State {
    /// `$0`.
    name: Vec<u8>,
    arguments: Vec<Vec<u8>>,
    variables: BTreeMap<Vec<u8>, Variable>,
    functions: BTreeMap<Vec<u8>, Arc<Command>>,
    /// Signal number (0 is the shell's end) to what is run; an empty action ignores the signal.
    traps: BTreeMap<u8, Vec<u8>>,
    status: u8,
    last_background: Option<u32>,
    /// `$$`: the first shell's, also in subshells.
    pid: u32,
    exit_on_error: bool,
    unset_is_error: bool,
}

/// The streams of a command.
#[derive(Debug, Clone)]
struct Io {
    stdin: ProgramInput,
    stdout: ProgramOutput,
    stderr: ProgramOutput,
}

/// How a command changed the course of those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break(u32),
    Continue(u32),
    Return,
    Exit,
    /// The shell itself ends so.
    Ended(ExitStatus),
    /// The shell becomes another program.
    Exec,
}

#[derive(Debug)]
struct Shell {
    state: State,
    io: Io,
    cx: ProgramContext,
    background: Vec<Arc<Proc>>,
    /// What the local variables of the functions that run hid.
    locals: Vec<Vec<(Vec<u8>, Option<Variable>)>>,
    /// What takes the shell's place.
    successor: Option<(Program, Launch)>,
    /// How many conditions are being evaluated: failures within are no errors for `-e`.
    conditions: u32,
    depth: usize,
}

/// `sh [-e] [-u] -c SCRIPT [NAME ARGUMENT…]`, `sh FILE ARGUMENT…`, or a script on stdin.
async fn sh(cx: ProgramContext) -> ExitStatus {
    let argv = cx.argv().to_vec();
    let mut state = State {
        name: argv.first().cloned().unwrap_or_default(),
        arguments: Vec::new(),
        variables: cx.launch.env.iter().map(|(k, v)| (k.clone(), (v.clone(), true))).collect(),
        functions: BTreeMap::new(),
        traps: BTreeMap::new(),
        status: 0,
        last_background: None,
        pid: cx.pid(),
        exit_on_error: false,
        unset_is_error: false,
    };
    state.variables.insert(b"IFS".to_vec(), (b" \t\n".to_vec(), false));
    let mut words = argv.into_iter().skip(1).peekable();
    let mut script = false;
    let mut cx = cx;
    while let Some(flags) = words.next_if(|w| w.len() > 1 && w[0] == b'-') {
        if flags == b"--" {
            break;
        }
        for flag in &flags[1..] {
            match flag {
                b'c' => script = true,
                b'e' => state.exit_on_error = true,
                b'u' => state.unset_is_error = true,
                b's' | b'i' | b'l' => {}
                other => {
                    return cx.fail(2, format!("this simulated shell has no option '-{}'", char::from(*other))).await;
                }
            }
        }
    }
    let io = Io { stdin: cx.stdin.clone(), stdout: cx.stdout.clone(), stderr: cx.stderr.clone() };
    let mut shell =
        Shell { state, io, cx, background: Vec::new(), locals: Vec::new(), successor: None, conditions: 0, depth: 0 };
    let source = if script {
        match words.next() {
            Some(source) => source,
            None => return shell.cx.fail(2, "-c needs a script").await,
        }
    } else if let Some(file) = words.next() {
        let read = shell.cx.read_file(&file);
        let source = match read {
            Ok(source) => source,
            Err(e) => {
                let message = format!("{}: {e}", String::from_utf8_lossy(&file));
                return shell.cx.fail(127, message).await;
            }
        };
        shell.state.name = file;
        shell.state.arguments = words.collect();
        return shell.script(&source).await;
    } else {
        return shell.interact().await;
    };
    if let Some(name) = words.next() {
        shell.state.name = name;
    }
    shell.state.arguments = words.collect();
    shell.script(&source).await
}

impl Shell {
    /// Runs a whole script.
    async fn script(&mut self, source: &[u8]) -> ExitStatus {
        match parse::parse(source) {
            Ok(list) => {
                let flow = self.list(&list).await;
                self.end(flow).await
            }
            Err(e) => {
                self.complain(&describe(&e)).await;
                ExitStatus::Exited(2)
            }
        }
    }

    /// Runs a list as the whole of this shell.
    async fn whole(&mut self, list: &List) -> ExitStatus {
        let flow = self.list(list).await;
        self.end(flow).await
    }

    /// Reads a script from stdin and runs each command when it is complete.
    async fn interact(&mut self) -> ExitStatus {
        let mut source = Vec::new();
        loop {
            if self.io.stdin.is_terminal() && source.is_empty() {
                self.say("$ ").await;
            }
            let ended = self.line(&mut source).await;
            match parse::parse(&source) {
                Err(SyntaxError::Unfinished) if !ended => continue,
                Err(e) => {
                    self.complain(&describe(&e)).await;
                    self.state.status = 2;
                }
                Ok(list) => {
                    let flow = self.list(&list).await;
                    if flow != Flow::Next {
                        return self.end(flow).await;
                    }
                }
            }
            source.clear();
            if ended {
                return self.end(Flow::Next).await;
            }
        }
    }

    /// Adds a line of stdin, without reading beyond it; `true` at its end.
    async fn line(&mut self, to: &mut Vec<u8>) -> bool {
        let mut byte = [0];
        loop {
            match self.io.stdin.read(&mut byte).await {
                Ok(1) => {
                    to.push(byte[0]);
                    if byte[0] == b'\n' {
                        return false;
                    }
                }
                _ => return true,
            }
        }
    }

    /// Runs what was trapped for the end, and gives the status.
    async fn end(&mut self, flow: Flow) -> ExitStatus {
        if let Flow::Ended(status) = flow {
            return status;
        }
        if let Some((program, order)) = self.successor.take().filter(|_| flow == Flow::Exec) {
            self.io =
                Io { stdin: Self::no_input(), stdout: ProgramOutput(Sink::Null), stderr: ProgramOutput(Sink::Null) };
            self.cx.proc.rename(&order.argv);
            procfs::show(&self.cx.machine.fs, &self.cx.proc);
            return program.run(self.cx.become_program(order)).await;
        }
        if let Some(action) = self.state.traps.remove(&0) {
            let status = self.state.status;
            if self.evaluate(&action).await != Flow::Exit {
                self.state.status = status;
            }
        }
        ExitStatus::Exited(self.state.status)
    }

    /// Runs text as commands.
    async fn evaluate(&mut self, source: &[u8]) -> Flow {
        match parse::parse(source) {
            Ok(list) => Box::pin(self.list(&list)).await,
            Err(e) => {
                self.complain(&describe(&e)).await;
                self.state.status = 2;
                Flow::Exit
            }
        }
    }

    /// Runs the actions of the signals that came.
    async fn traps(&mut self) -> Flow {
        while let Some(n) = self.cx.pending_signal() {
            let flow = self.trap(n).await;
            if flow != Flow::Next {
                return flow;
            }
        }
        Flow::Next
    }

    async fn trap(&mut self, n: u8) -> Flow {
        let Some(action) = self.state.traps.get(&n).cloned() else { return Flow::Next };
        let status = self.state.status;
        let flow = self.evaluate(&action).await;
        if flow == Flow::Next {
            self.state.status = status;
        }
        flow
    }

    /// Sets what a signal does.
    fn set_trap(&mut self, n: u8, action: Option<&[u8]>) {
        let disposition = match action {
            None => Disposition::Default,
            Some(b"") => Disposition::Ignore,
            Some(_) => Disposition::Catch,
        };
        match action {
            None => self.state.traps.remove(&n),
            Some(action) => self.state.traps.insert(n, action.to_vec()),
        };
        if let Ok(signal) = Signal::try_from(n) {
            self.cx.proc.dispose(signal.get(), disposition);
        }
    }

    /// Prints to stderr. Who closed stderr does not want to know.
    async fn say(&mut self, text: &str) {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut self.io.stderr, text.as_bytes()).await;
    }

    async fn complain(&mut self, message: &str) {
        let name = String::from_utf8_lossy(&self.state.name).into_owned();
        self.say(&format!("{name}: {message}\n")).await;
    }
}

fn describe(e: &SyntaxError) -> String {
    match e {
        SyntaxError::Unfinished => "syntax error: the script ends too early".into(),
        SyntaxError::Wrong(what) => format!("syntax error: {what}"),
    }
}
