//! Packages of the distribution.

use crate::os::{Os, Removed};
use crate::{Error, Result};
use std::time::Duration;

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, with the distribution's own number for it.
    pub version: String,
    /// The architecture it is for, by the distribution's word; `all` or `noarch` is every one. Empty
    /// where the package manager doesn't say (pacman).
    pub arch: String,
}

impl Package {
    /// Whether `name` means this package: its name, or `NAME:ARCH` as dpkg writes it.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name == name || name.strip_prefix(&self.name).and_then(|r| r.strip_prefix(':')) == Some(&self.arch)
    }
}

/// What became of the packages that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PackageChange {
    /// Those that were installed or removed.
    pub changed: Vec<String>,
    /// Those that were there, or not there, already.
    pub unchanged: Vec<String>,
}

/// How long an installation or removal may take: 30 minutes.
pub const PACKAGE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Checks what a package manager is given: it must be read as a name and never as an option, a
/// pattern, or (`NAME-` of apt) an order to remove.
pub(crate) fn checked<'a>(names: &[&'a str]) -> Result<Vec<&'a str>> {
    let bad = |n: &str| {
        n.is_empty()
            || n.starts_with('-')
            || n.ends_with('-')
            || n.chars().any(|c| !c.is_ascii_graphic() || "*?[]{}^$|\\`'\"<>;&#!,%".contains(c))
    };
    match names.iter().find(|n| bad(n)) {
        Some(name) => Err(Error::invalid("that is no name of a package").with_context("package", format!("{name:?}"))),
        None if names.is_empty() => Err(Error::invalid("no package was named")),
        None => Ok(names.to_vec()),
    }
}

impl Os {
    /// The installed packages, by name.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) without a package manager; else as
    /// [`Os::execute`].
    pub async fn packages(&self) -> Result<Vec<Package>> {
        self.execute(self.dialect().packages(), "os.packages").await
    }

    /// The installed package of this name; `None` when it is not installed.
    ///
    /// # Errors
    /// As [`Os::packages`].
    pub async fn package(&self, name: &str) -> Result<Option<Package>> {
        Ok(self.packages().await?.into_iter().find(|p| p.is(name)))
    }

    /// Installs packages, asking nothing, after reading the distribution's index anew. Those that are
    /// installed are left as they are, and when all are, nothing is run. A name may carry a version as
    /// the package manager writes it (`nginx=1.22.1-9`).
    ///
    /// # Errors
    /// `NotFound` for an unknown package; `PermissionDenied`; `Unavailable` when the index can't be
    /// reached; `Busy` while another installation runs; `Timeout` after [`PACKAGE_TIMEOUT`];
    /// `Unsupported` without a package manager; else as [`Os::execute`].
    pub async fn install_packages(&self, names: &[&str]) -> Result<PackageChange> {
        self.change_packages(names, true).await
    }

    /// Removes packages, asking nothing; their configuration stays. Those that are not installed are no
    /// error.
    ///
    /// # Errors
    /// As [`Os::install_packages`].
    pub async fn remove_packages(&self, names: &[&str]) -> Result<PackageChange> {
        self.change_packages(names, false).await
    }

    async fn change_packages(&self, names: &[&str], install: bool) -> Result<PackageChange> {
        let operation = if install { "os.install_packages" } else { "os.remove_packages" };
        checked(names).map_err(|e| e.with_operation(operation))?;
        let there = self.execute(self.dialect().packages(), operation).await?;
        let (unchanged, changed): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|n| there.iter().any(|p| p.is(n)) == install);
        if !changed.is_empty() {
            let plan = self.dialect().change_packages(&changed, if install { Change::Install } else { Change::Remove });
            self.execute(plan, operation).await?;
        }
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Ok(PackageChange { changed: owned(changed), unchanged: owned(unchanged) })
    }

    /// Removes one package.
    ///
    /// # Errors
    /// As [`Os::install_packages`].
    pub async fn remove_package(&self, name: &str) -> Result<Removed> {
        let change = self.remove_packages(&[name]).await?;
        Ok(if change.changed.is_empty() { Removed::AlreadyAbsent } else { Removed::Removed })
    }
}

/// Which way packages change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// They are installed.
    Install,
    /// They are removed.
    Remove,
}
