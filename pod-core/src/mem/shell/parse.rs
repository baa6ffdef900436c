//! Reads shell scripts.

use super::syntax::{Act, Command, Compound, Item, List, Piece, Pipeline, Redirect, RedirectTo, Word};
use std::sync::{Arc, OnceLock};

/// How deep commands may be nested.
pub(super) const DEPTH: usize = 40;

/// What is wrong with a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SyntaxError {
    /// It ends too early: more may follow.
    Unfinished,
    Wrong(String),
}

type Parsed<T> = Result<T, SyntaxError>;

fn wrong<T>(what: impl Into<String>) -> Parsed<T> {
    Err(SyntaxError::Wrong(what.into()))
}

/// Reads a whole script.
pub(super) fn parse(source: &[u8]) -> Parsed<List> {
    let mut parser = Parser { source, at: 0, depth: 0, here: Vec::new() };
    let list = parser.list()?;
    if parser.at < source.len() {
        return wrong(format!(
            "unexpected {:?}",
            String::from_utf8_lossy(parser.rest().split(|b| *b == b'\n').next().unwrap_or_default())
        ));
    }
    if parser.here.is_empty() { Ok(list) } else { Err(SyntaxError::Unfinished) }
}

/// A here-document that was announced.
struct Here {
    end: Vec<u8>,
    /// Tabs at the beginning of its lines go.
    tabs: bool,
    quoted: bool,
    text: Arc<OnceLock<Word>>,
}

struct Parser<'a> {
    source: &'a [u8],
    at: usize,
    depth: usize,
    /// Here-documents whose text follows after the line.
    here: Vec<Here>,
}

const RESERVED: [&[u8]; 8] = [b"then", b"elif", b"else", b"fi", b"do", b"done", b"esac", b"}"];

fn is_name(name: &[u8]) -> bool {
    name.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

fn ends_word(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>')
}

impl Parser<'_> {
    fn rest(&self) -> &[u8] {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    fn starts(&self, text: &[u8]) -> bool {
        self.rest().starts_with(text)
    }

    fn eat(&mut self, text: &[u8]) -> bool {
        let there = self.starts(text);
        if there {
            self.at += text.len();
        }
        there
    }

    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\\') if self.starts(b"\\\n") => self.at += 2,
                Some(b'#') => self.at += self.rest().iter().take_while(|b| **b != b'\n').count(),
                _ => return,
            }
        }
    }

    fn newlines(&mut self) -> Parsed<()> {
        self.blanks();
        while self.eat(b"\n") {
            self.here_documents()?;
            self.blanks();
        }
        Ok(())
    }

    /// The word of plain letters that stands here, for reserved words.
    fn plain(&self) -> &[u8] {
        let rest = self.rest();
        let n = rest.iter().position(|b| ends_word(*b)).unwrap_or(rest.len());
        &rest[..n]
    }

    fn reserved(&mut self, word: &[u8]) -> bool {
        let there = self.plain() == word;
        if there {
            self.at += word.len();
        }
        there
    }

    fn expect(&mut self, word: &[u8]) -> Parsed<()> {
        self.newlines()?;
        if self.reserved(word) {
            return Ok(());
        }
        if self.peek().is_none() {
            return Err(SyntaxError::Unfinished);
        }
        wrong(format!("{:?} is expected", String::from_utf8_lossy(word)))
    }

    fn list(&mut self) -> Parsed<List> {
        self.depth += 1;
        if self.depth > DEPTH {
            return wrong("commands are nested too deep");
        }
        let mut items = Vec::new();
        loop {
            self.newlines()?;
            match self.peek() {
                None | Some(b')') => break,
                _ if self.starts(b";;") || RESERVED.contains(&self.plain()) => break,
                _ => {}
            }
            let first = self.pipeline()?;
            let mut rest = Vec::new();
            loop {
                self.blanks();
                let and = if self.eat(b"&&") {
                    true
                } else if self.eat(b"||") {
                    false
                } else {
                    break;
                };
                self.newlines()?;
                rest.push((and, self.pipeline()?));
            }
            let background = !self.starts(b"&&") && self.eat(b"&");
            if !background && !self.starts(b";;") && !self.eat(b";") {
                match self.peek() {
                    None | Some(b'\n' | b')') => {}
                    // Only a compound command may be followed by a reserved word.
                    _ if RESERVED.contains(&self.plain()) => {}
                    _ => return wrong(format!("unexpected {:?}", String::from_utf8_lossy(self.plain()))),
                }
            }
            items.push(Item { first, rest, background });
        }
        self.depth -= 1;
        Ok(items.into())
    }

    /// A list that holds at least one command.
    fn some(&mut self) -> Parsed<List> {
        let list = self.list()?;
        if !list.is_empty() {
            return Ok(list);
        }
        if self.peek().is_none() { Err(SyntaxError::Unfinished) } else { wrong("a command is expected") }
    }

    fn pipeline(&mut self) -> Parsed<Pipeline> {
        self.blanks();
        let not = self.plain() == b"!" && self.eat(b"!");
        let mut commands = Vec::new();
        loop {
            self.newlines()?;
            commands.push(self.command()?);
            self.blanks();
            if self.starts(b"||") || !self.eat(b"|") {
                return Ok(Pipeline { not, commands });
            }
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        self.blanks();
        if self.peek().is_none() {
            return Err(SyntaxError::Unfinished);
        }
        let compound = if self.eat(b"(") {
            let list = self.some()?;
            self.close(b")")?;
            Compound::Subshell(list)
        } else if self.reserved(b"{") {
            let list = self.some()?;
            self.expect(b"}")?;
            Compound::Group(list)
        } else if self.reserved(b"if") {
            self.conditional()?
        } else if self.plain() == b"while" || self.plain() == b"until" {
            let until = self.plain() == b"until";
            self.at += 5;
            let condition = self.some()?;
            Compound::Loop { until, condition, body: self.body()? }
        } else if self.reserved(b"for") {
            self.for_loop()?
        } else if self.reserved(b"case") {
            self.case()?
        } else {
            return self.simple();
        };
        let mut redirects = Vec::new();
        loop {
            self.blanks();
            match self.redirect()? {
                Some(redirect) => redirects.push(redirect),
                None => return Ok(Command::Compound(compound, redirects)),
            }
        }
    }

    fn close(&mut self, with: &[u8]) -> Parsed<()> {
        self.newlines()?;
        if self.eat(with) {
            return Ok(());
        }
        if self.peek().is_none() {
            return Err(SyntaxError::Unfinished);
        }
        wrong(format!("{:?} is expected", String::from_utf8_lossy(with)))
    }

    fn body(&mut self) -> Parsed<List> {
        self.expect(b"do")?;
        let body = self.some()?;
        self.expect(b"done")?;
        Ok(body)
    }

    fn conditional(&mut self) -> Parsed<Compound> {
        let mut branches = Vec::new();
        let mut otherwise = None;
        loop {
            let condition = self.some()?;
            self.expect(b"then")?;
            branches.push((condition, self.some()?));
            self.newlines()?;
            if self.reserved(b"elif") {
                continue;
            }
            if self.reserved(b"else") {
                otherwise = Some(self.some()?);
            }
            self.expect(b"fi")?;
            return Ok(Compound::If(branches, otherwise));
        }
    }

    fn for_loop(&mut self) -> Parsed<Compound> {
        self.blanks();
        let variable = self.plain().to_vec();
        if !is_name(&variable) {
            return wrong("a variable's name is expected after 'for'");
        }
        self.at += variable.len();
        self.newlines()?;
        let words = if self.reserved(b"in") {
            let mut words = Vec::new();
            loop {
                self.blanks();
                match self.peek() {
                    Some(b'\n' | b';') | None => break,
                    _ => words.push(self.word()?),
                }
            }
            Some(words)
        } else {
            None
        };
        self.blanks();
        self.eat(b";");
        Ok(Compound::For { variable, words, body: self.body()? })
    }

    fn case(&mut self) -> Parsed<Compound> {
        self.blanks();
        let word = self.word()?;
        self.expect(b"in")?;
        let mut arms = Vec::new();
        loop {
            self.newlines()?;
            if self.reserved(b"esac") {
                return Ok(Compound::Case { word, arms });
            }
            if self.peek().is_none() {
                return Err(SyntaxError::Unfinished);
            }
            self.eat(b"(");
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                patterns.push(self.word()?);
                self.blanks();
                if !self.eat(b"|") {
                    break;
                }
            }
            self.close(b")")?;
            arms.push((patterns, self.list()?));
            self.newlines()?;
            if !self.eat(b";;") {
                self.expect(b"esac")?;
                return Ok(Compound::Case { word, arms });
            }
        }
    }

    fn simple(&mut self) -> Parsed<Command> {
        let (mut assignments, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            match self.peek() {
                None | Some(b'\n' | b';' | b'&' | b'|' | b')') => break,
                Some(b'(') => {
                    let name = match words.as_slice() {
                        [word] if assignments.is_empty() && redirects.is_empty() => literal(word),
                        _ => None,
                    };
                    let Some(name) = name.filter(|n| is_name(n)) else { return wrong("unexpected '('") };
                    self.at += 1;
                    self.close(b")")?;
                    self.newlines()?;
                    let body = self.command()?;
                    if !matches!(body, Command::Compound(..)) {
                        return wrong("a function's body is a compound command");
                    }
                    return Ok(Command::Function(name, Arc::new(body)));
                }
                _ => {}
            }
            if words.is_empty() {
                let plain = self.plain();
                let equals = plain.iter().position(|b| *b == b'=');
                if let Some(name) = equals.map(|i| plain[..i].to_vec()).filter(|n| is_name(n)) {
                    self.at += name.len() + 1;
                    assignments.push((name, self.word()?));
                    continue;
                }
            }
            words.push(self.word()?);
        }
        if assignments.is_empty() && words.is_empty() && redirects.is_empty() {
            return wrong(match self.peek() {
                Some(b) => format!("unexpected {:?}", char::from(b)),
                None => "a command is expected".into(),
            });
        }
        Ok(Command::Simple { assignments, words, redirects })
    }

    fn redirect(&mut self) -> Parsed<Option<Redirect>> {
        let digits = self.rest().iter().take_while(|b| b.is_ascii_digit()).count();
        let Some(sign @ (b'<' | b'>')) = self.source.get(self.at + digits).copied() else { return Ok(None) };
        let stream = match &self.rest()[..digits] {
            b"" => u8::from(sign == b'>'),
            [d @ b'0'..=b'2'] => d - b'0',
            _ => return wrong("this simulated shell has only the streams 0, 1 and 2"),
        };
        self.at += digits;
        for here in [&b"<<-"[..], b"<<"] {
            if self.eat(here) {
                self.blanks();
                let word = self.word()?;
                let quoted = word.iter().any(|p| matches!(p, Piece::Text(_, true)));
                let Some(end) = literal(&word) else { return wrong("the end of a here-document is a plain word") };
                let text = Arc::new(OnceLock::new());
                self.here.push(Here { end, tabs: here.len() == 3, quoted, text: text.clone() });
                return Ok(Some(Redirect { stream, to: RedirectTo::Text(text) }));
            }
        }
        let to: fn(Word) -> RedirectTo = if self.eat(b">>") {
            |file| RedirectTo::Write { file, append: true }
        } else if self.eat(b">&") || self.eat(b"<&") {
            RedirectTo::Stream
        } else if self.eat(b">|") || self.eat(b">") {
            |file| RedirectTo::Write { file, append: false }
        } else if self.starts(b"<>") {
            return wrong("this simulated shell has no '<>'");
        } else {
            self.at += 1;
            RedirectTo::Read
        };
        self.blanks();
        let word = self.word()?;
        if word.is_empty() {
            return wrong("a redirection needs a file");
        }
        Ok(Some(Redirect { stream, to: to(word) }))
    }

    fn here_documents(&mut self) -> Parsed<()> {
        for Here { end, tabs, quoted, text } in std::mem::take(&mut self.here) {
            let mut body = Vec::new();
            loop {
                if self.peek().is_none() {
                    return Err(SyntaxError::Unfinished);
                }
                let rest = self.rest();
                let n = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |i| i + 1);
                let mut line = rest[..n].to_vec();
                self.at += n;
                if tabs {
                    line.drain(..line.iter().take_while(|b| **b == b'\t').count());
                }
                if line.strip_suffix(b"\n").unwrap_or(&line) == end {
                    break;
                }
                body.extend(line);
            }
            let word = if quoted {
                vec![Piece::Text(body, true)]
            } else {
                let mut inner = Parser { source: &body, at: 0, depth: self.depth, here: Vec::new() };
                inner.quoted(None)?
            };
            // Each is filled once, here.
            let _ = text.set(word);
        }
        Ok(())
    }

    /// A word, which may be empty where none stands.
    fn word(&mut self) -> Parsed<Word> {
        let mut word = Word::new();
        while let Some(b) = self.peek().filter(|b| !ends_word(*b)) {
            self.piece(b, &mut word)?;
        }
        Ok(word)
    }

    fn piece(&mut self, b: u8, word: &mut Word) -> Parsed<()> {
        match b {
            b'\'' => {
                self.at += 1;
                let n = self.rest().iter().position(|b| *b == b'\'').ok_or(SyntaxError::Unfinished)?;
                word.push(Piece::Text(self.rest()[..n].to_vec(), true));
                self.at += n + 1;
            }
            b'"' => {
                self.at += 1;
                let inner = self.quoted(Some(b'"'))?;
                if inner.is_empty() {
                    word.push(Piece::Text(Vec::new(), true));
                }
                word.extend(inner);
            }
            b'\\' => {
                let Some(next) = self.source.get(self.at + 1).copied() else { return Err(SyntaxError::Unfinished) };
                self.at += 2;
                if next != b'\n' {
                    word.push(Piece::Text(vec![next], true));
                }
            }
            b'$' | b'`' => {
                let piece = self.dollar(false)?;
                word.push(piece);
            }
            _ => {
                self.at += 1;
                push_text(word, b, false);
            }
        }
        Ok(())
    }

    /// The inside of double quotes, up to `end` or to the end of the source.
    fn quoted(&mut self, end: Option<u8>) -> Parsed<Word> {
        let mut word = Word::new();
        loop {
            match self.peek() {
                None if end.is_none() => return Ok(word),
                None => return Err(SyntaxError::Unfinished),
                Some(b) if Some(b) == end => {
                    self.at += 1;
                    return Ok(word);
                }
                Some(b'\\') => match self.source.get(self.at + 1).copied() {
                    Some(b'\n') => self.at += 2,
                    Some(b @ (b'$' | b'`' | b'"' | b'\\')) => {
                        self.at += 2;
                        push_text(&mut word, b, true);
                    }
                    _ => {
                        self.at += 1;
                        push_text(&mut word, b'\\', true);
                    }
                },
                Some(b'$' | b'`') => word.push(self.dollar(true)?),
                Some(b) => {
                    self.at += 1;
                    push_text(&mut word, b, true);
                }
            }
        }
    }

    /// What begins with `$` or a backquote.
    fn dollar(&mut self, quoted: bool) -> Parsed<Piece> {
        if self.eat(b"`") {
            let mut inner = Vec::new();
            loop {
                match self.peek() {
                    None => return Err(SyntaxError::Unfinished),
                    Some(b'`') => break,
                    Some(b'\\') if matches!(self.source.get(self.at + 1), Some(b'$' | b'`' | b'\\')) => {
                        inner.push(self.source[self.at + 1]);
                        self.at += 2;
                    }
                    Some(b) => {
                        inner.push(b);
                        self.at += 1;
                    }
                }
            }
            self.at += 1;
            let mut parser = Parser { source: &inner, at: 0, depth: self.depth, here: Vec::new() };
            return Ok(Piece::Output(parser.list()?, quoted));
        }
        self.at += 1;
        if self.starts(b"((") {
            return self.arithmetic(quoted);
        }
        if self.eat(b"(") {
            let list = self.list()?;
            self.close(b")")?;
            return Ok(Piece::Output(list, quoted));
        }
        if self.eat(b"{") {
            return self.braced(quoted);
        }
        let n = self.parameter_len();
        if n == 0 {
            return Ok(Piece::Text(b"$".to_vec(), quoted));
        }
        // Without braces only one digit counts.
        let n = if self.rest()[0].is_ascii_digit() { 1 } else { n };
        let name = self.rest()[..n].to_vec();
        self.at += n;
        Ok(Piece::Parameter { name, act: Act::Value, quoted })
    }

    fn parameter_len(&self) -> usize {
        let rest = self.rest();
        match rest.first() {
            Some(b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!') => 1,
            Some(b) if b.is_ascii_digit() => rest.iter().take_while(|b| b.is_ascii_digit()).count(),
            Some(b) if b.is_ascii_alphabetic() || *b == b'_' => {
                rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
            }
            _ => 0,
        }
    }

    fn arithmetic(&mut self, quoted: bool) -> Parsed<Piece> {
        self.at += 2;
        let mut open = 0;
        let mut n = 0;
        loop {
            match self.rest().get(n) {
                None => return Err(SyntaxError::Unfinished),
                Some(b'(') => open += 1,
                Some(b')') if open > 0 => open -= 1,
                Some(b')') if self.rest().get(n + 1) == Some(&b')') => break,
                Some(_) => {}
            }
            n += 1;
        }
        let inner = self.rest()[..n].to_vec();
        self.at += n + 2;
        let mut parser = Parser { source: &inner, at: 0, depth: self.depth, here: Vec::new() };
        Ok(Piece::Arithmetic(parser.quoted(None)?, quoted))
    }

    fn braced(&mut self, quoted: bool) -> Parsed<Piece> {
        let length = self.starts(b"#") && !self.starts(b"#}") && self.eat(b"#");
        let n = self.parameter_len();
        if n == 0 {
            return if self.peek().is_none() { Err(SyntaxError::Unfinished) } else { wrong("bad substitution") };
        }
        let name = self.rest()[..n].to_vec();
        self.at += n;
        if self.eat(b"}") {
            return Ok(Piece::Parameter { name, act: if length { Act::Length } else { Act::Value }, quoted });
        }
        let colon = self.eat(b":");
        let Some(sign) = self.peek() else { return Err(SyntaxError::Unfinished) };
        self.at += 1;
        let act = match sign {
            b'-' | b'=' | b'?' | b'+' if !length => Act::Or(sign, colon, self.until_brace(quoted)?),
            b'#' | b'%' if !length && !colon => {
                let most = self.eat(&[sign]);
                // The quotes around the whole do not quote a pattern (section 2.6.2).
                Act::Cut(sign, most, self.until_brace(false)?)
            }
            _ => return wrong("bad substitution"),
        };
        Ok(Piece::Parameter { name, act, quoted })
    }

    fn until_brace(&mut self, quoted: bool) -> Parsed<Word> {
        if quoted {
            return self.quoted(Some(b'}'));
        }
        let mut word = Word::new();
        loop {
            match self.peek() {
                None => return Err(SyntaxError::Unfinished),
                Some(b'}') => {
                    self.at += 1;
                    return Ok(word);
                }
                Some(b) => self.piece(b, &mut word)?,
            }
        }
    }
}

fn push_text(word: &mut Word, b: u8, quoted: bool) {
    match word.last_mut() {
        Some(Piece::Text(text, q)) if *q == quoted => text.push(b),
        _ => word.push(Piece::Text(vec![b], quoted)),
    }
}

/// A word that holds nothing to expand, as it is.
fn literal(word: &Word) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for piece in word {
        match piece {
            Piece::Text(text, _) => out.extend(text),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unfinished_scripts_are_told_from_wrong_ones() {
        for more in [
            "echo 'a",
            "if true",
            "if true; then",
            "(",
            "{ echo",
            "case x in",
            "a &&",
            "a |",
            "cat <<E\nx\n",
            "echo $(",
            "\"${a",
        ] {
            assert_eq!(parse(more.as_bytes()).expect_err(more), SyntaxError::Unfinished, "{more}");
        }
        for wrong in
            [")", "fi", "a ; ; b", "echo ${}", "f() echo", "a 7> b", "; a", "if ; then a; fi", "case x in a) ;; b"]
        {
            let e = parse(wrong.as_bytes()).expect_err(wrong);
            assert!(matches!(e, SyntaxError::Wrong(_)) || wrong.starts_with("case"), "{wrong}: {e:?}");
        }
        assert!(parse("(".repeat(1000).as_bytes()).is_err());
    }

    #[test]
    fn scripts_are_read() {
        for good in [
            "",
            "\n# only a comment\n",
            "a=1 b=2 cmd x >f 2>&1 <g",
            "if a; then b; elif c; then d; else e; fi >x",
            "while read -r l; do echo \"$l\"; done <f",
            "for x in a b; do :; done",
            "for x; do :; done",
            "case $x in a|b) c ;; (*) d; esac",
            "f() { echo; }\nf",
            "(a; b) | c & d",
            "! a && b || c",
            "cat <<E >f\n$x\nE\nb",
            "cat <<-'E'\n\tx\n\tE\n",
            "echo `a \\`b\\`` $((1 + $(x))) ${#a} ${a%%b*} ${a:-\"}\"}",
        ] {
            assert!(parse(good.as_bytes()).is_ok(), "{good}: {:?}", parse(good.as_bytes()));
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(source in "[a-z$(){}|&;<>\"'`\\\\# \n=!*0-9:-]{0,60}") {
            let _ = parse(source.as_bytes());
        }
    }
}
