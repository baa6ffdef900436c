//! Expansions of the shell: parameters, command substitution, arithmetic, fields, patterns.

use super::parse::DEPTH;
use super::pattern::{Marked, arithmetic, is_pattern, marked, matches};
use super::syntax::{Act, List, Piece, Word};
use super::{Shell, State};
use crate::mem::pipe::pipe;
use crate::mem::stdio::{ProgramInput, ProgramOutput, Sink, Source};
use std::future::Future;
use std::pin::Pin;
use tokio::io::AsyncReadExt;

type Expanded<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// Fields as they are built.
#[derive(Default)]
struct Fields {
    done: Vec<Vec<Marked>>,
    open: Option<Vec<Marked>>,
}

impl Fields {
    fn add(&mut self, bytes: &[u8], quoted: bool) {
        self.open.get_or_insert_default().extend(marked(bytes, quoted));
    }

    fn close(&mut self) {
        self.done.extend(self.open.take());
    }

    /// Adds a value that is split at the bytes of `ifs`.
    fn split(&mut self, value: &[u8], ifs: &[u8]) {
        let mut after_space = false;
        for b in value {
            if !ifs.contains(b) {
                self.open.get_or_insert_default().push((*b, false));
                after_space = false;
            } else if b.is_ascii_whitespace() {
                after_space = self.open.is_some() || after_space;
                self.close();
            } else {
                // A separator that is no blank ends a field, also an empty one; blanks around it belong to it.
                if self.open.is_some() || !after_space {
                    self.open.get_or_insert_default();
                    self.close();
                }
                after_space = false;
            }
        }
    }
}

impl State {
    pub(super) fn get(&self, name: &[u8]) -> Option<Vec<u8>> {
        match name {
            b"?" => Some(self.status.to_string().into_bytes()),
            b"$" => Some(self.pid.to_string().into_bytes()),
            b"!" => self.last_background.map(|p| p.to_string().into_bytes()),
            b"#" => Some(self.arguments.len().to_string().into_bytes()),
            b"-" => Some(if self.exit_on_error { b"e".to_vec() } else { Vec::new() }),
            b"0" => Some(self.name.clone()),
            b"@" | b"*" => Some(self.arguments.join(&b' ')).filter(|_| !self.arguments.is_empty()),
            digits if digits[0].is_ascii_digit() => {
                let n: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
                self.arguments.get(n.checked_sub(1)?).cloned()
            }
            name => self.variables.get(name).map(|(v, _)| v.clone()),
        }
    }

    pub(super) fn set(&mut self, name: &[u8], value: Vec<u8>) {
        self.variables.entry(name.to_vec()).or_default().0 = value;
    }
}

impl Shell {
    /// Expands words to fields.
    pub(super) async fn fields(&mut self, words: &[Word]) -> Result<Vec<Vec<u8>>, String> {
        let mut out = Vec::new();
        for word in words {
            let mut fields = Fields::default();
            self.expand(word, &mut fields, true).await?;
            fields.close();
            for field in fields.done {
                match self.files(&field) {
                    names if names.is_empty() => out.push(field.into_iter().map(|(b, _)| b).collect()),
                    names => out.extend(names),
                }
            }
        }
        Ok(out)
    }

    /// Expands a word to one value, without splitting.
    pub(super) async fn value(&mut self, word: &Word) -> Result<Vec<u8>, String> {
        Ok(self.pattern(word).await?.into_iter().map(|(b, _)| b).collect())
    }

    /// As [`Shell::value`], with what was quoted.
    pub(super) async fn pattern(&mut self, word: &Word) -> Result<Vec<Marked>, String> {
        let mut fields = Fields::default();
        self.expand(word, &mut fields, false).await?;
        fields.close();
        Ok(fields.done.join(&(b' ', true)))
    }

    fn expand<'a>(&'a mut self, word: &'a Word, fields: &'a mut Fields, split: bool) -> Expanded<'a, ()> {
        Box::pin(async move {
            for piece in word {
                match piece {
                    Piece::Text(text, quoted) => fields.add(text, *quoted),
                    Piece::Parameter { name, act, quoted } => {
                        self.parameter(name, act, *quoted, fields, split).await?;
                    }
                    Piece::Output(list, quoted) => {
                        let value = self.output_of(list).await?;
                        self.put(&value, *quoted, fields, split);
                    }
                    Piece::Arithmetic(inner, quoted) => {
                        let text = self.value(inner).await?;
                        let state = &self.state;
                        let get = |name: &str| {
                            state
                                .get(name.as_bytes())
                                .map(|v| String::from_utf8_lossy(&v).into_owned())
                                .unwrap_or_default()
                        };
                        let value = arithmetic(&String::from_utf8_lossy(&text), &get)?;
                        self.put(value.to_string().as_bytes(), *quoted, fields, split);
                    }
                }
            }
            Ok(())
        })
    }

    fn put(&self, value: &[u8], quoted: bool, fields: &mut Fields, split: bool) {
        if quoted || !split {
            fields.add(value, quoted);
        } else {
            let ifs = self.state.get(b"IFS").unwrap_or_else(|| b" \t\n".to_vec());
            fields.split(value, &ifs);
        }
    }

    async fn parameter(
        &mut self,
        name: &[u8],
        act: &Act,
        quoted: bool,
        fields: &mut Fields,
        split: bool,
    ) -> Result<(), String> {
        let value = self.state.get(name);
        let text = || String::from_utf8_lossy(name).into_owned();
        match act {
            Act::Value | Act::Length
                if value.is_none() && self.state.unset_is_error && !matches!(name, b"@" | b"*") =>
            {
                return Err(format!("{}: parameter not set", text()));
            }
            Act::Value if matches!(name, b"@" | b"*") => {
                if quoted && name == b"*" {
                    let ifs = self.state.get(b"IFS").unwrap_or_else(|| b" ".to_vec());
                    let joined = self.state.arguments.join(&ifs[..ifs.len().min(1)]);
                    fields.add(&joined, true);
                } else {
                    let arguments = self.state.arguments.clone();
                    for (i, argument) in arguments.iter().enumerate() {
                        if i > 0 {
                            if split { fields.close() } else { fields.add(b" ", true) }
                        }
                        self.put(argument, quoted, fields, split);
                    }
                }
            }
            Act::Value => self.put(&value.unwrap_or_default(), quoted, fields, split),
            Act::Length => {
                let n = if matches!(name, b"@" | b"*") {
                    self.state.arguments.len()
                } else {
                    value.unwrap_or_default().len()
                };
                self.put(n.to_string().as_bytes(), quoted, fields, split);
            }
            Act::Or(sign, colon, word) => {
                let has = value.as_ref().is_some_and(|v| !*colon || !v.is_empty());
                match (sign, has) {
                    (b'+', true) | (b'-', false) => self.expand(word, fields, split && !quoted).await?,
                    (b'+', false) => self.put(b"", quoted, fields, split),
                    (b'=', false) => {
                        let value = self.value(word).await?;
                        self.state.set(name, value.clone());
                        self.put(&value, quoted, fields, split);
                    }
                    (b'?', false) => {
                        let message = self.value(word).await?;
                        let message = if message.is_empty() { b"parameter not set".to_vec() } else { message };
                        return Err(format!("{}: {}", text(), String::from_utf8_lossy(&message)));
                    }
                    _ => self.put(&value.unwrap_or_default(), quoted, fields, split),
                }
            }
            Act::Cut(sign, most, word) => {
                let value = value.unwrap_or_default();
                let pattern = self.pattern(word).await?;
                let mut ends: Vec<usize> = (0..=value.len()).collect();
                // The shortest match first, unless the longest is asked for.
                if (*sign == b'#') == *most {
                    ends.reverse();
                }
                let fits = |i: &usize| {
                    let part = if *sign == b'#' { &value[..*i] } else { &value[*i..] };
                    matches(&pattern, part)
                };
                let rest = match ends.into_iter().find(fits) {
                    Some(i) if *sign == b'#' => &value[i..],
                    Some(i) => &value[..i],
                    None => &value[..],
                };
                self.put(rest, quoted, fields, split);
            }
        }
        Ok(())
    }

    /// What commands print, without the newlines at its end.
    async fn output_of(&mut self, list: &List) -> Result<Vec<u8>, String> {
        if self.depth > DEPTH {
            return Err("nested too deep".into());
        }
        let (mut reader, writer) = pipe();
        let mut io = self.io.clone();
        io.stdout = ProgramOutput(Sink::Pipe(writer));
        let child = self.fork(io, list.clone()).map_err(|e| e.text)?;
        let mut out = Vec::new();
        reader.read_to_end(&mut out).await.map_err(|e| e.to_string())?;
        self.state.status = child.wait().await.shell_code().unwrap_or(255);
        out.retain(|b| *b != 0);
        while out.last() == Some(&b'\n') {
            out.pop();
        }
        Ok(out)
    }

    /// The files a pattern names, in order; none for what is no pattern.
    fn files(&self, pattern: &[Marked]) -> Vec<Vec<u8>> {
        if !is_pattern(pattern) {
            return Vec::new();
        }
        let fs = self.cx.machine.fs.lock();
        let (cred, cwd) = (self.cx.launch.cred, self.cx.launch.cwd);
        let absolute = pattern.first().is_some_and(|(b, _)| *b == b'/');
        let mut found: Vec<Vec<u8>> = vec![if absolute { b"/".to_vec() } else { Vec::new() }];
        let parts: Vec<&[Marked]> = pattern.split(|(b, _)| *b == b'/').filter(|p| !p.is_empty()).collect();
        for (i, part) in parts.iter().enumerate() {
            let mut next = Vec::new();
            for base in &found {
                let dir = if base.is_empty() { b"." } else { base.as_slice() };
                let Ok(ino) = fs.lookup(cred, cwd, dir, true) else { continue };
                let names = if is_pattern(part) {
                    let hidden = part.first().is_some_and(|(b, _)| *b == b'.');
                    let all = fs.entries(cred, ino).unwrap_or_default(); // what can't be read matches nothing
                    all.into_iter()
                        .map(|(name, _)| name)
                        .filter(|n| (hidden || !n.starts_with(b".")) && matches(part, n))
                        .collect()
                } else {
                    let name: Vec<u8> = part.iter().map(|(b, _)| *b).collect();
                    let there = [dir, b"/", &name].concat();
                    if fs.lookup(cred, cwd, &there, false).is_ok() { vec![name] } else { Vec::new() }
                };
                for name in names {
                    let mut path = base.clone();
                    path.extend(name);
                    if i + 1 < parts.len() {
                        path.push(b'/');
                    }
                    next.push(path);
                }
            }
            found = next;
        }
        found.sort();
        found
    }

    /// The stdin of what runs in the background.
    pub(super) fn no_input() -> ProgramInput {
        ProgramInput(Source::Empty)
    }
}
