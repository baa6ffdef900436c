//! Users and their groups.

use crate::os::{Input, Os, PathBytes, Removed};
use crate::{Error, Result};
use std::fmt;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct User {
    /// The name.
    pub name: String,
    /// The id.
    pub uid: u32,
    /// The id of the main group.
    pub gid: u32,
    /// The main group's name; the id in digits where it has none.
    pub group: String,
    /// The other groups.
    pub groups: Vec<String>,
    /// The home folder.
    pub home: PathBytes,
    /// The login shell.
    pub shell: PathBytes,
    /// The comment, often the full name.
    pub comment: String,
}

/// A password. It is never printed, and reaches a program only by its stdin.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes a password.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when it is empty or holds a line end
    /// or a zero byte, which chpasswd(8) can't carry.
    pub fn new(password: impl Into<String>) -> Result<Self> {
        let password = password.into();
        if password.is_empty() || password.contains(['\n', '\r', '\0']) {
            return Err(Error::invalid("a password is not empty and has no line end in it"));
        }
        Ok(Self(password))
    }

    /// The line that chpasswd(8) reads.
    pub(crate) fn line(&self, user: &str) -> Input {
        Input::new(format!("{user}:{}\n", self.0))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A user to make.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewUser {
    /// The name: a letter or `_`, then letters, digits, `_`, `.` and `-`, at most 32 bytes.
    pub name: String,
    /// The id; `None` is the next that is free.
    pub uid: Option<u32>,
    /// The main group, which exists; `None` is the system's custom, mostly a group of the same name.
    pub group: Option<String>,
    /// Other groups, which exist.
    pub groups: Vec<String>,
    /// The login shell, an absolute path; `None` is the system's custom.
    pub shell: Option<String>,
    /// The home folder, an absolute path; `None` is the system's custom.
    pub home: Option<String>,
    /// Whether the home folder is made.
    pub make_home: bool,
    /// Whether this is a user for a service: the id is of the system's range.
    pub system: bool,
    /// A comment, often the full name.
    pub comment: Option<String>,
    /// The password; `None` locks the password.
    pub password: Option<Password>,
}

impl NewUser {
    /// A user of this name with a home folder and a locked password.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            uid: None,
            group: None,
            groups: Vec::new(),
            shell: None,
            home: None,
            make_home: true,
            system: false,
            comment: None,
            password: None,
        }
    }

    /// Sets the id.
    #[must_use]
    pub fn with_uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Sets the main group.
    #[must_use]
    pub fn with_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Adds other groups.
    #[must_use]
    pub fn with_groups<I: IntoIterator<Item = S>, S: Into<String>>(mut self, groups: I) -> Self {
        self.groups.extend(groups.into_iter().map(Into::into));
        self
    }

    /// Sets the login shell.
    #[must_use]
    pub fn with_shell(mut self, shell: impl Into<String>) -> Self {
        self.shell = Some(shell.into());
        self
    }

    /// Sets the home folder.
    #[must_use]
    pub fn with_home(mut self, home: impl Into<String>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// Sets whether the home folder is made.
    #[must_use]
    pub fn with_make_home(mut self, make_home: bool) -> Self {
        self.make_home = make_home;
        self
    }

    /// Makes it a user for a service.
    #[must_use]
    pub fn with_system(mut self) -> Self {
        self.system = true;
        self
    }

    /// Sets the comment.
    #[must_use]
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// Sets the password.
    #[must_use]
    pub fn with_password(mut self, password: Password) -> Self {
        self.password = Some(password);
        self
    }

    /// Checks every part.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) names the part.
    pub fn validate(&self) -> Result<()> {
        checked("user", &self.name)?;
        for group in self.group.iter().chain(&self.groups) {
            checked("group", group)?;
        }
        for (what, path) in [("shell", &self.shell), ("home", &self.home)] {
            if let Some(path) = path
                && (!path.starts_with('/') || path.contains([':', '\n', '\0']))
            {
                return Err(Error::invalid(format!("the {what} is no absolute path without `:`"))
                    .with_context(what, format!("{path:?}")));
            }
        }
        if let Some(comment) = &self.comment
            && comment.contains([':', '\n', '\0', ','])
        {
            return Err(Error::invalid("a comment has no `:`, no `,` and no line end in it")
                .with_context("comment", format!("{comment:?}")));
        }
        Ok(())
    }
}

/// Checks a user's or group's name.
pub(crate) fn checked<'a>(what: &'static str, name: &'a str) -> Result<&'a str> {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !first || name.len() > 32 || !chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')) {
        return Err(Error::invalid(format!("that is no name of a {what}"))
            .with_context(what, format!("{name:?}"))
            .with_hint("a letter or `_`, then letters, digits, `_`, `.` and `-`, at most 32"));
    }
    Ok(name)
}

impl Os {
    /// The users, by id.
    ///
    /// # Errors
    /// As [`Os::execute`].
    pub async fn users(&self) -> Result<Vec<User>> {
        self.execute(self.dialect().users(), "os.users").await
    }

    /// The user of this name.
    ///
    /// # Errors
    /// `NotFound`; else as [`Os::execute`].
    pub async fn user(&self, name: &str) -> Result<User> {
        let found = self.users().await?.into_iter().find(|u| u.name == name);
        found.ok_or_else(|| Error::not_found("user", name).with_operation("os.users"))
    }

    /// Makes a user, and gives it back as it was read after. When the password can't be set, the user is
    /// removed again. Needs `exec.stdin` for a password.
    ///
    /// # Errors
    /// `AlreadyExists` for a name or id in use, and the user is untouched; `NotFound` for an unknown
    /// group; `PermissionDenied`; `Unsupported` without a program that makes users; else as
    /// [`Os::execute`].
    pub async fn create_user(&self, user: &NewUser) -> Result<User> {
        self.execute(self.dialect().create_user(user), "os.create_user").await?;
        self.user(&user.name).await
    }

    /// Sets a user's password. Needs `exec.stdin`.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied`; `Unsupported` without chpasswd(8); else as [`Os::execute`].
    pub async fn set_password(&self, name: &str, password: &Password) -> Result<()> {
        self.execute(self.dialect().set_password(name, password), "os.set_password").await
    }

    /// Removes a user, with `home` its home folder too. Absence is no error.
    ///
    /// # Errors
    /// `Busy` while the user has processes; `PermissionDenied`; `Unsupported` without a program that
    /// removes users; else as [`Os::execute`].
    pub async fn delete_user(&self, name: &str, home: bool) -> Result<Removed> {
        self.execute(self.dialect().delete_user(name, home), "os.delete_user").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_checked() {
        assert!(NewUser::new("bob").with_groups(["wheel"]).with_shell("/bin/sh").validate().is_ok());
        let bad = [
            NewUser::new(""),
            NewUser::new("-r"),
            NewUser::new("a:b"),
            NewUser::new("a b"),
            NewUser::new("x".repeat(33)),
            NewUser::new("bob").with_groups(["a,b"]),
            NewUser::new("bob").with_group("0x"),
            NewUser::new("bob").with_shell("sh"),
            NewUser::new("bob").with_home("/a:b"),
            NewUser::new("bob").with_comment("a\nroot2:x:0:0"),
        ];
        for user in bad {
            assert!(user.validate().is_err(), "{user:?}");
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        let user = NewUser::new("bob").with_password(Password::new("hunter2").expect("a password"));
        assert!(!format!("{user:?}").contains("hunter2"));
        for bad in ["", "a\nroot:x", "a\0b"] {
            assert!(Password::new(bad).is_err());
        }
    }
}
