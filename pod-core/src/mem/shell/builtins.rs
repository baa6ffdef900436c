//! What the shell does itself.

use super::{Flow, Shell};
use crate::mem::process::find_file;
use crate::mem::programs::process::{evaluate as test, send_signals};
use crate::{ExitStatus, Signal};

/// Built-ins whose assignments stay (POSIX.1-2024, 2.15).
const SPECIAL: [&[u8]; 11] =
    [b":", b"break", b"continue", b"eval", b"exit", b"export", b"return", b"set", b"shift", b"trap", b"unset"];
const OTHERS: [&[u8]; 15] = [
    b"true", b"false", b"echo", b"printf", b"test", b"[", b"pwd", b"kill", b"cd", b"command", b"local", b"read",
    b"wait", b"type", b"umask",
];

impl Shell {
    pub(super) fn is_special(name: &[u8]) -> bool {
        SPECIAL.contains(&name)
    }

    pub(super) fn is_builtin(name: &[u8]) -> bool {
        SPECIAL.contains(&name) || OTHERS.contains(&name)
    }

    pub(super) async fn builtin(&mut self, argv: &[Vec<u8>]) -> Flow {
        let args = &argv[1..];
        let text = |i: usize| args.get(i).map(|a| String::from_utf8_lossy(a).into_owned());
        match argv[0].as_slice() {
            b":" | b"true" => self.state.status = 0,
            b"false" => self.state.status = 1,
            b"echo" | b"printf" | b"pwd" => return self.inner_program(argv).await,
            b"test" | b"[" => {
                let cx = self.cx.within(argv.to_vec(), &self.io.stdin, &self.io.stdout, &self.io.stderr);
                match test(&cx, argv) {
                    Ok(true) => self.state.status = 0,
                    Ok(false) => self.state.status = 1,
                    Err(why) => self.failed(2, &format!("test: {why}")).await,
                }
            }
            b"kill" => {
                let args: Vec<String> = args.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
                match send_signals(&self.cx, &args) {
                    Ok(()) => self.state.status = 0,
                    Err(why) => self.failed(1, &format!("kill: {why}")).await,
                }
            }
            name @ (b"break" | b"continue") => {
                let n = text(0).and_then(|n| n.parse().ok()).unwrap_or(1).max(1);
                self.state.status = 0;
                return if name == b"break" { Flow::Break(n) } else { Flow::Continue(n) };
            }
            name @ (b"return" | b"exit") => {
                match text(0).map(|n| n.parse::<i64>()) {
                    None => {}
                    Some(Ok(n)) => self.state.status = (n & 0xff) as u8,
                    Some(Err(_)) => self.failed(2, "a number is expected").await,
                }
                return if name == b"exit" { Flow::Exit } else { Flow::Return };
            }
            b"eval" => return Box::pin(self.evaluate(&args.join(&b' '))).await,
            b"cd" => self.cd(args).await,
            b"umask" => match text(0).map(|mask| u32::from_str_radix(&mask, 8)) {
                None => {
                    let mask = format!("{:04o}", self.cx.launch.umask).into_bytes();
                    return self.inner_program(&[b"echo".to_vec(), mask]).await;
                }
                Some(Ok(mask)) if mask <= 0o777 => {
                    self.cx.launch.umask = mask;
                    self.state.status = 0;
                }
                Some(_) => self.failed(2, "umask: an octal mask is expected").await,
            },
            b"export" => self.declare(true, args),
            b"local" => self.local(args).await,
            b"unset" => {
                self.state.status = 0;
                for name in args.iter().filter(|a| !matches!(a.as_slice(), b"-v" | b"-f")) {
                    self.state.variables.remove(name);
                    self.state.functions.remove(name);
                }
            }
            b"set" => self.set(args).await,
            b"shift" => {
                let n: usize = text(0).and_then(|n| n.parse().ok()).unwrap_or(1);
                if n > self.state.arguments.len() {
                    self.failed(1, "shift: there are not so many arguments").await;
                } else {
                    self.state.arguments.drain(..n);
                    self.state.status = 0;
                }
            }
            b"trap" => self.trap_builtin(args).await,
            b"wait" => return self.wait(args).await,
            b"read" => self.read(args).await,
            b"command" | b"type" => return self.command_builtin(argv).await,
            other => self.failed(2, &format!("{}: no such built-in", String::from_utf8_lossy(other))).await,
        }
        Flow::Next
    }

    /// Runs a program that needs no process of its own.
    async fn inner_program(&mut self, argv: &[Vec<u8>]) -> Flow {
        let name = String::from_utf8_lossy(&argv[0]).into_owned();
        let Some(program) = self.cx.machine.programs.get(&name) else {
            self.failed(127, &format!("{name}: not found")).await;
            return Flow::Next;
        };
        let cx = self.cx.within(argv.to_vec(), &self.io.stdin, &self.io.stdout, &self.io.stderr);
        match program.run(cx).await {
            // The shell itself would have been killed.
            status @ ExitStatus::Signaled(_) => return Flow::Ended(status),
            status => self.state.status = status.shell_code().unwrap_or(255),
        }
        Flow::Next
    }

    async fn cd(&mut self, args: &[Vec<u8>]) {
        let home = || self.state.get(b"HOME").unwrap_or_else(|| b"/".to_vec());
        let path = args.iter().find(|a| *a != b"--").cloned().unwrap_or_else(home);
        let found = {
            let fs = self.cx.machine.fs.lock();
            let dir = [path.as_slice(), b"/."].concat();
            fs.lookup(self.cx.launch.cred, self.cx.launch.cwd, &dir, true).and_then(|ino| Ok((ino, fs.path_of(ino)?)))
        };
        match found {
            Ok((ino, absolute)) => {
                self.cx.launch.cwd = ino;
                self.state.set(b"PWD", absolute);
                self.state.status = 0;
            }
            Err(e) => self.failed(2, &format!("cd: {}: {}", String::from_utf8_lossy(&path), e.text())).await,
        }
    }

    /// Sets `NAME=VALUE` words, and exports them when told to.
    fn declare(&mut self, export: bool, args: &[Vec<u8>]) {
        self.state.status = 0;
        for arg in args.iter().filter(|a| *a != b"-p") {
            let (name, value) = name_and_value(arg);
            if value.is_some() || export {
                let variable = self.state.variables.entry(name.to_vec()).or_default();
                if let Some(value) = value {
                    variable.0 = value.to_vec();
                }
                variable.1 |= export;
            }
        }
    }

    /// `local NAME[=VALUE]…`: what the names stood for comes back when the function ends.
    async fn local(&mut self, args: &[Vec<u8>]) {
        let Some(scope) = self.locals.last_mut() else {
            return self.failed(2, "local: not in a function").await;
        };
        for arg in args {
            let name = name_and_value(arg).0;
            scope.push((name.to_vec(), self.state.variables.get(name).cloned()));
        }
        self.declare(false, args);
    }

    async fn set(&mut self, args: &[Vec<u8>]) {
        self.state.status = 0;
        for (i, arg) in args.iter().enumerate() {
            match arg.as_slice() {
                b"--" => {
                    self.state.arguments = args[i + 1..].to_vec();
                    return;
                }
                flags if flags.len() > 1 && matches!(flags[0], b'-' | b'+') => {
                    for flag in &flags[1..] {
                        let on = flags[0] == b'-';
                        match flag {
                            b'e' => self.state.exit_on_error = on,
                            b'u' => self.state.unset_is_error = on,
                            other => {
                                let why = format!("set: this simulated shell has no option '{}'", char::from(*other));
                                return self.failed(2, &why).await;
                            }
                        }
                    }
                }
                _ => {
                    self.state.arguments = args[i..].to_vec();
                    return;
                }
            }
        }
    }

    async fn trap_builtin(&mut self, args: &[Vec<u8>]) {
        self.state.status = 0;
        let args: &[Vec<u8>] = if args.first().is_some_and(|a| a == b"--") { &args[1..] } else { args };
        let Some((action, signals)) = args.split_first().filter(|(_, s)| !s.is_empty()) else {
            return self.failed(2, "trap: an action and a signal are expected").await;
        };
        for signal in signals {
            let name = String::from_utf8_lossy(signal).into_owned();
            let n = match name.as_str() {
                "0" | "EXIT" => 0,
                name => match name.parse::<Signal>() {
                    Ok(signal) => signal.get(),
                    Err(e) => return self.failed(1, &format!("trap: {e}")).await,
                },
            };
            self.set_trap(n, if action == b"-" { None } else { Some(action) });
        }
    }

    /// `wait [PID…]`; a trapped signal ends it.
    async fn wait(&mut self, args: &[Vec<u8>]) -> Flow {
        let wanted: Vec<u32> = args.iter().filter_map(|a| std::str::from_utf8(a).ok()?.parse().ok()).collect();
        let (waited, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.background).into_iter().partition(|p| args.is_empty() || wanted.contains(&p.pid));
        self.background = kept;
        self.state.status = if waited.is_empty() && !args.is_empty() { 127 } else { 0 };
        for proc in waited {
            let interrupted = tokio::select! {
                biased;
                status = proc.wait() => {
                    if !args.is_empty() {
                        self.state.status = status.shell_code().unwrap_or(255);
                    }
                    None
                }
                signal = self.cx.signal() => Some(signal),
            };
            if let Some(signal) = interrupted {
                self.background.push(proc);
                self.state.status = 128 + signal.get();
                return self.trap(signal.get()).await;
            }
        }
        Flow::Next
    }

    /// `read [-r] NAME…`
    async fn read(&mut self, args: &[Vec<u8>]) {
        let raw = args.iter().any(|a| a == b"-r");
        let names: Vec<_> = args.iter().filter(|a| *a != b"-r").collect();
        let mut line = Vec::new();
        let mut ended = self.line(&mut line).await;
        while !raw && line.ends_with(b"\\\n") && !ended {
            line.truncate(line.len() - 2);
            ended = self.line(&mut line).await;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if !raw {
            let mut plain = Vec::new();
            let mut bytes = line.into_iter();
            while let Some(b) = bytes.next() {
                plain.extend(if b == b'\\' { bytes.next() } else { Some(b) });
            }
            line = plain;
        }
        let ifs = self.state.get(b"IFS").unwrap_or_else(|| b" \t\n".to_vec());
        let blank = |b: &u8| ifs.contains(b) && b.is_ascii_whitespace();
        let mut rest: &[u8] = &line;
        for (i, name) in names.iter().enumerate() {
            let skip = rest.iter().take_while(|b| blank(b)).count();
            rest = &rest[skip..];
            if i + 1 == names.len() {
                let end = rest.len() - rest.iter().rev().take_while(|b| blank(b)).count();
                self.state.set(name, rest[..end].to_vec());
            } else {
                let n = rest.iter().position(|b| ifs.contains(b)).unwrap_or(rest.len());
                let value = rest[..n].to_vec();
                rest = rest.get(n + 1..).unwrap_or_default();
                self.state.set(name, value);
            }
        }
        self.state.status = u8::from(ended && line.is_empty());
    }

    /// `command [-v] NAME…`, `type NAME`
    async fn command_builtin(&mut self, argv: &[Vec<u8>]) -> Flow {
        let asks = argv[0] == b"type" || argv.get(1).is_some_and(|a| a == b"-v");
        let rest = if argv.get(1).is_some_and(|a| a == b"-v") { &argv[2..] } else { &argv[1..] };
        let Some(name) = rest.first() else {
            self.state.status = 0;
            return Flow::Next;
        };
        if asks {
            let known = self.state.functions.contains_key(name) || Self::is_builtin(name) || name == b"exec";
            let order = self.order(vec![name.clone()], &self.io);
            if known || find_file(&self.cx.machine, &order).is_ok() {
                return self.inner_program(&[b"echo".to_vec(), name.clone()]).await;
            }
            self.state.status = 127;
            return Flow::Next;
        }
        if Self::is_builtin(name) {
            return Box::pin(self.builtin(rest)).await;
        }
        self.external(rest.to_vec()).await;
        Flow::Next
    }
}

/// Splits `NAME=VALUE`; `None` without a `=`.
fn name_and_value(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    match word.iter().position(|b| *b == b'=') {
        Some(i) => (&word[..i], Some(&word[i + 1..])),
        None => (word, None),
    }
}
