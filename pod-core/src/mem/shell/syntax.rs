//! What a shell script is made of (POSIX.1-2024, Shell Command Language).

use std::sync::{Arc, OnceLock};

/// Commands one after the other.
pub(super) type List = Arc<[Item]>;

/// Pipelines joined by `&&` and `||`, and whether they run in the background.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) first: Pipeline,
    /// Each with whether it runs after success (`&&`) or failure (`||`).
    pub(super) rest: Vec<(bool, Pipeline)>,
    pub(super) background: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    pub(super) not: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Simple { assignments: Vec<(Vec<u8>, Word)>, words: Vec<Word>, redirects: Vec<Redirect> },
    Compound(Compound, Vec<Redirect>),
    Function(Vec<u8>, Arc<Command>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Compound {
    Group(List),
    Subshell(List),
    /// Conditions with what they lead to, and what is done else.
    If(Vec<(List, List)>, Option<List>),
    Loop {
        until: bool,
        condition: List,
        body: List,
    },
    /// `None` goes over the arguments.
    For {
        variable: Vec<u8>,
        words: Option<Vec<Word>>,
        body: List,
    },
    Case {
        word: Word,
        arms: Vec<(Vec<Word>, List)>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Redirect {
    /// The stream: 0, 1 or 2.
    pub(super) stream: u8,
    pub(super) to: RedirectTo,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum RedirectTo {
    Read(Word),
    Write {
        file: Word,
        append: bool,
    },
    Stream(Word),
    /// The text of a here-document, which comes after the line.
    Text(Arc<OnceLock<Word>>),
}

/// Pieces that become fields when they are expanded.
pub(super) type Word = Vec<Piece>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(Vec<u8>, bool),
    Parameter { name: Vec<u8>, act: Act, quoted: bool },
    Output(List, bool),
    Arithmetic(Word, bool),
}

/// What `${NAME…}` does with the value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    Value,
    Length,
    /// `-`, `=`, `?` or `+`, and whether an empty value counts as none (`:`).
    Or(u8, bool, Word),
    /// `#` or `%`, and whether as much as possible is cut.
    Cut(u8, bool, Word),
}
