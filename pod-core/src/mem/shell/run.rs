//! Running what was parsed.

use super::parse::DEPTH;
use super::pattern::matches;
use super::syntax::{Command, Compound, Item, List, Pipeline, Redirect, RedirectTo, Word};
use super::{Flow, Io, Shell};
use crate::ExitStatus;
use crate::mem::pipe::pipe;
use crate::mem::process::{Launch, LaunchError, Proc, launch, launch_course};
use crate::mem::stdio::{ProgramInput, ProgramOutput, Sink, Source};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

type Course<'a> = Pin<Box<dyn Future<Output = Flow> + Send + 'a>>;

impl Shell {
    pub(super) fn list<'a>(&'a mut self, list: &'a List) -> Course<'a> {
        Box::pin(async move {
            for item in list.iter() {
                let flow = if item.background { self.background(item).await } else { self.item(item).await };
                if flow != Flow::Next {
                    return flow;
                }
            }
            Flow::Next
        })
    }

    async fn background(&mut self, item: &Item) -> Flow {
        let mut io = self.io.clone();
        io.stdin = Self::no_input();
        let list: List = vec![Item { background: false, ..item.clone() }].into();
        match self.fork(io, list) {
            Ok(proc) => {
                self.state.last_background = Some(proc.pid);
                self.background.push(proc);
                self.state.status = 0;
            }
            Err(e) => self.failed(e.code, &e.text).await,
        }
        Flow::Next
    }

    async fn item(&mut self, item: &Item) -> Flow {
        let mut flow = self.pipeline(&item.first, !item.rest.is_empty()).await;
        for (i, (and, pipeline)) in item.rest.iter().enumerate() {
            if flow != Flow::Next {
                return flow;
            }
            if *and == (self.state.status == 0) {
                flow = self.pipeline(pipeline, i + 1 < item.rest.len()).await;
            }
        }
        flow
    }

    /// Runs a pipeline; `tested` says that what follows depends on its status, so that `-e` lets it be.
    async fn pipeline(&mut self, pipeline: &Pipeline, tested: bool) -> Flow {
        let tested = tested || pipeline.not;
        self.conditions += u32::from(tested);
        let flow = match pipeline.commands.as_slice() {
            [command] => self.command(command).await,
            commands => self.stages(commands).await,
        };
        self.conditions -= u32::from(tested);
        if pipeline.not && flow == Flow::Next {
            self.state.status = u8::from(self.state.status == 0);
        }
        let trapped = self.traps().await;
        self.cx.checkpoint().await;
        match (flow, trapped) {
            (Flow::Next, Flow::Next)
                if self.state.status != 0 && self.state.exit_on_error && self.conditions == 0 && !tested =>
            {
                Flow::Exit
            }
            (Flow::Next, trapped) => trapped,
            (flow, _) => flow,
        }
    }

    async fn stages(&mut self, commands: &[Command]) -> Flow {
        let mut stages: Vec<Arc<Proc>> = Vec::new();
        let mut input = self.io.stdin.clone();
        for (i, command) in commands.iter().enumerate() {
            let mut io = self.io.clone();
            io.stdin = input;
            input = Self::no_input();
            if i + 1 < commands.len() {
                let (reader, writer) = pipe();
                io.stdout = ProgramOutput(Sink::Pipe(writer));
                input = ProgramInput(Source::Pipe(reader));
            }
            let pipeline = Pipeline { not: false, commands: vec![command.clone()] };
            let list: List = vec![Item { first: pipeline, rest: Vec::new(), background: false }].into();
            match self.fork(io, list) {
                Ok(proc) => stages.push(proc),
                Err(e) => {
                    self.failed(e.code, &e.text).await;
                    return Flow::Next;
                }
            }
        }
        for stage in &stages {
            self.state.status = stage.wait().await.shell_code().unwrap_or(255);
        }
        Flow::Next
    }

    /// Starts a copy of this shell that runs a list.
    pub(super) fn fork(&self, io: Io, list: List) -> Result<Arc<Proc>, LaunchError> {
        let mut state = self.state.clone();
        // What is trapped is the default again in a subshell; what is ignored stays so (2.12).
        state.traps.retain(|_, action| action.is_empty());
        let order = self.order(self.cx.launch.argv.clone(), &io);
        let depth = self.depth;
        launch_course(&self.cx.machine, order, move |cx| {
            // The streams live in the shell alone, so that their ends are seen.
            let mut cx = cx;
            cx.stdin = Self::no_input();
            cx.stdout = ProgramOutput(Sink::Null);
            cx.stderr = ProgramOutput(Sink::Null);
            let mut shell = Self {
                state,
                io,
                cx,
                background: Vec::new(),
                locals: Vec::new(),
                successor: None,
                conditions: 0,
                depth,
            };
            Box::pin(async move { shell.alone(&list).await })
        })
    }

    /// Runs a list as the whole of a subshell: a single program takes its place.
    async fn alone(&mut self, list: &List) -> ExitStatus {
        if let [Item { first: Pipeline { not: false, commands }, rest, background: false }] = &list[..]
            && rest.is_empty()
            && let [Command::Simple { assignments, words, redirects }] = commands.as_slice()
            && !words.is_empty()
        {
            let flow = self.simple(assignments, words, redirects, true).await;
            return self.end(flow).await;
        }
        self.whole(list).await
    }

    pub(super) fn order(&self, argv: Vec<Vec<u8>>, io: &Io) -> Launch {
        let mut order = self.cx.child(argv);
        order.stdin = io.stdin.clone();
        order.stdout = io.stdout.clone();
        order.stderr = io.stderr.clone();
        let exported = self.state.variables.iter().filter(|(_, (_, exported))| *exported);
        order.env = exported.map(|(k, (v, _))| (k.clone(), v.clone())).collect();
        order
    }

    fn command<'a>(&'a mut self, command: &'a Command) -> Course<'a> {
        Box::pin(async move {
            self.depth += 1;
            if self.depth > DEPTH {
                self.depth -= 1;
                self.complain("nested too deep").await;
                self.state.status = 2;
                return Flow::Exit;
            }
            let flow = match command {
                Command::Simple { assignments, words, redirects } => {
                    self.simple(assignments, words, redirects, false).await
                }
                Command::Function(name, body) => {
                    self.state.functions.insert(name.clone(), body.clone());
                    self.state.status = 0;
                    Flow::Next
                }
                Command::Compound(compound, redirects) => {
                    let before = self.io.clone();
                    let flow = match self.redirect(redirects).await {
                        Ok(()) => self.compound(compound).await,
                        Err(why) => {
                            self.failed(1, &why).await;
                            Flow::Next
                        }
                    };
                    self.io = before;
                    flow
                }
            };
            self.depth -= 1;
            flow
        })
    }

    async fn compound(&mut self, compound: &Compound) -> Flow {
        match compound {
            Compound::Group(list) => self.list(list).await,
            Compound::Subshell(list) => {
                match self.fork(self.io.clone(), list.clone()) {
                    Ok(proc) => self.state.status = proc.wait().await.shell_code().unwrap_or(255),
                    Err(e) => self.failed(e.code, &e.text).await,
                }
                Flow::Next
            }
            Compound::If(branches, otherwise) => {
                for (condition, then) in branches {
                    let flow = self.condition(condition).await;
                    if flow != Flow::Next {
                        return flow;
                    }
                    if self.state.status == 0 {
                        return self.list(then).await;
                    }
                }
                self.state.status = 0;
                match otherwise {
                    Some(list) => self.list(list).await,
                    None => Flow::Next,
                }
            }
            Compound::Loop { until, condition, body } => {
                let mut status = 0;
                loop {
                    let flow = self.condition(condition).await;
                    if flow != Flow::Next {
                        return leave(flow);
                    }
                    if (self.state.status == 0) == *until {
                        self.state.status = status;
                        return Flow::Next;
                    }
                    let flow = self.list(body).await;
                    status = self.state.status;
                    match flow {
                        Flow::Next | Flow::Continue(1) => {}
                        other => return leave(other),
                    }
                }
            }
            Compound::For { variable, words, body } => {
                let values = match words {
                    None => Ok(self.state.arguments.clone()),
                    Some(words) => self.fields(words).await,
                };
                let values = match values {
                    Ok(values) => values,
                    Err(why) => return self.expansion_failed(&why).await,
                };
                self.state.status = 0;
                for value in values {
                    self.state.set(variable, value);
                    match self.list(body).await {
                        Flow::Next | Flow::Continue(1) => {}
                        other => return leave(other),
                    }
                }
                Flow::Next
            }
            Compound::Case { word, arms } => {
                let value = match self.value(word).await {
                    Ok(value) => value,
                    Err(why) => return self.expansion_failed(&why).await,
                };
                self.state.status = 0;
                for (patterns, list) in arms {
                    for pattern in patterns {
                        match self.pattern(pattern).await {
                            Ok(pattern) if matches(&pattern, &value) => return self.list(list).await,
                            Ok(_) => {}
                            Err(why) => return self.expansion_failed(&why).await,
                        }
                    }
                }
                Flow::Next
            }
        }
    }

    async fn condition(&mut self, list: &List) -> Flow {
        self.conditions += 1;
        let flow = self.list(list).await;
        self.conditions -= 1;
        flow
    }

    /// An expansion that fails ends the shell (2.8.1).
    async fn expansion_failed(&mut self, why: &str) -> Flow {
        self.failed(2, why).await;
        Flow::Exit
    }

    pub(super) async fn failed(&mut self, code: u8, why: &str) {
        self.complain(why).await;
        self.state.status = code;
    }

    async fn simple(
        &mut self,
        assignments: &[(Vec<u8>, Word)],
        words: &[Word],
        redirects: &[Redirect],
        replace: bool,
    ) -> Flow {
        let argv = match self.fields(words).await {
            Ok(argv) => argv,
            Err(why) => return self.expansion_failed(&why).await,
        };
        let mut values = Vec::new();
        if words.is_empty() {
            self.state.status = 0; // that of a command substitution, if there is one
        }
        for (name, word) in assignments {
            match self.value(word).await {
                Ok(value) => values.push((name.clone(), value)),
                Err(why) => return self.expansion_failed(&why).await,
            }
        }
        let before = self.io.clone();
        if let Err(why) = self.redirect(redirects).await {
            self.io = before;
            self.failed(1, &why).await;
            return Flow::Next;
        }
        let Some(name) = argv.first() else {
            for (name, value) in values {
                self.state.set(&name, value);
            }
            self.io = before;
            return Flow::Next;
        };
        if name == b"exec" {
            for (name, value) in values {
                self.state.set(&name, value);
            }
            let flow = self.replace(&argv[1..]).await;
            // What `exec` alone redirects stays so.
            if argv.len() > 1 {
                self.io = before;
            }
            return flow;
        }
        let special = Self::is_special(name);
        let is_local = self.state.functions.contains_key(name) || Self::is_builtin(name);
        let saved: Vec<_> = values.iter().map(|(n, _)| (n.clone(), self.state.variables.get(n).cloned())).collect();
        for (name, value) in values {
            self.state.set(&name, value);
            if !special && let Some(variable) = self.state.variables.get_mut(&name) {
                variable.1 = true;
            }
        }
        let flow = if let Some(body) = self.state.functions.get(name).cloned() {
            self.call(&body, &argv).await
        } else if is_local {
            self.builtin(&argv).await
        } else if replace {
            self.replace(&argv).await
        } else {
            self.external(argv.clone()).await;
            Flow::Next
        };
        if !special {
            for (name, value) in saved {
                match value {
                    Some(value) => self.state.variables.insert(name, value),
                    None => self.state.variables.remove(&name),
                };
            }
        }
        self.io = before;
        flow
    }

    async fn call(&mut self, body: &Command, argv: &[Vec<u8>]) -> Flow {
        let arguments = std::mem::replace(&mut self.state.arguments, argv[1..].to_vec());
        self.locals.push(Vec::new());
        let flow = self.command(body).await;
        for (name, value) in self.locals.pop().unwrap_or_default().into_iter().rev() {
            match value {
                Some(value) => self.state.variables.insert(name, value),
                None => self.state.variables.remove(&name),
            };
        }
        self.state.arguments = arguments;
        if flow == Flow::Return { Flow::Next } else { flow }
    }

    /// Runs a program and waits for it.
    pub(super) async fn external(&mut self, argv: Vec<Vec<u8>>) {
        let name = String::from_utf8_lossy(&argv[0]).into_owned();
        match launch(&self.cx.machine, self.order(argv, &self.io)) {
            Ok(proc) => self.state.status = proc.wait().await.shell_code().unwrap_or(255),
            Err(e) => self.failed(e.code, &format!("{name}: {}", e.text)).await,
        }
    }

    /// Makes ready to become another program.
    async fn replace(&mut self, argv: &[Vec<u8>]) -> Flow {
        if argv.is_empty() {
            self.state.status = 0;
            return Flow::Next;
        }
        let mut order = self.order(argv.to_vec(), &self.io);
        match crate::mem::process::resolve(&self.cx.machine, &mut order) {
            Ok(program) => {
                for n in 1..=64 {
                    if self.state.traps.get(&n).is_some_and(|action| !action.is_empty()) {
                        self.set_trap(n, None);
                    }
                }
                // It runs when all that this shell holds open is let go of.
                self.successor = Some((program, order));
                Flow::Exec
            }
            Err(e) => {
                let name = String::from_utf8_lossy(&argv[0]).into_owned();
                self.failed(e.code, &format!("{name}: {}", e.text)).await;
                Flow::Exit
            }
        }
    }

    async fn redirect(&mut self, redirects: &[Redirect]) -> Result<(), String> {
        for redirect in redirects {
            let stream = redirect.stream;
            match &redirect.to {
                RedirectTo::Read(file) => {
                    let path = self.value(file).await?;
                    let input =
                        if path == b"/dev/stdin" { Ok(self.io.stdin.clone()) } else { self.cx.open_input(&path) };
                    let input = input.map_err(|e| format!("{}: {}", String::from_utf8_lossy(&path), e.text()))?;
                    if stream != 0 {
                        return Err("only stream 0 can be read".into());
                    }
                    self.io.stdin = input;
                }
                RedirectTo::Write { file, append } => {
                    let path = self.value(file).await?;
                    let output = match path.as_slice() {
                        b"/dev/stdout" => Ok(self.io.stdout.clone()),
                        b"/dev/stderr" => Ok(self.io.stderr.clone()),
                        _ => self.cx.open_output(&path, *append),
                    };
                    let output = output.map_err(|e| format!("{}: {}", String::from_utf8_lossy(&path), e.text()))?;
                    self.set_output(stream, output)?;
                }
                RedirectTo::Stream(word) => match (stream, self.value(word).await?.as_slice()) {
                    (n, b"1") => self.set_output(n, self.io.stdout.clone())?,
                    (n, b"2") => self.set_output(n, self.io.stderr.clone())?,
                    (0, b"0") => {}
                    (0, b"-") => self.io.stdin = Self::no_input(),
                    (n, b"-") => self.set_output(n, ProgramOutput(Sink::Null))?,
                    (_, other) => return Err(format!("{}: bad stream", String::from_utf8_lossy(other))),
                },
                RedirectTo::Text(text) => {
                    let text = match text.get() {
                        Some(word) => self.value(word).await?,
                        None => return Err("a here-document has no text".into()),
                    };
                    let (reader, mut writer) = pipe();
                    self.io.stdin = ProgramInput(Source::Pipe(reader));
                    tokio::spawn(async move {
                        // Who reads no further does not want the rest.
                        let _ = writer.write_all(&text).await;
                    });
                }
            }
        }
        Ok(())
    }

    fn set_output(&mut self, stream: u8, output: ProgramOutput) -> Result<(), String> {
        match stream {
            1 => self.io.stdout = output,
            2 => self.io.stderr = output,
            _ => return Err("stream 0 can't be written".into()),
        }
        Ok(())
    }
}

/// What a loop makes of what left its body.
fn leave(flow: Flow) -> Flow {
    match flow {
        Flow::Break(0 | 1) | Flow::Continue(0) => Flow::Next,
        Flow::Break(n) => Flow::Break(n - 1),
        Flow::Continue(n) => Flow::Continue(n - 1),
        other => other,
    }
}
