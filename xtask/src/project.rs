//! What cargo knows of this workspace.

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The feature that marks a test target as needing root.
pub(crate) const ROOT_TESTS: &str = "root-tests";

/// The feature that marks a test target as needing the lab.
pub(crate) const LAB_TESTS: &str = "lab-tests";

/// The feature that marks a test target as needing a lab on the second kernel.
pub(crate) const TAGGED_TESTS: &str = "tagged-tests";

/// The workspace, and all it is built from.
#[derive(Debug)]
pub(crate) struct Project {
    /// Its folder.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// Every package of the lock file, as `cargo metadata` describes it.
    pub(crate) packages: Vec<Value>,
}

/// A test target that is not built without certain features.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MarkedTest {
    pub(crate) package: String,
    pub(crate) target: String,
    /// All it needs, each in the form `PACKAGE/FEATURE`.
    pub(crate) features: Vec<String>,
    /// Its main file, by which cargo's reports name it too.
    pub(crate) source: PathBuf,
    /// The package's folder, where cargo runs its tests.
    pub(crate) folder: PathBuf,
}

/// A `cargo` command, by the cargo that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// This program's file. First asked for as the program starts, and kept: cargo may put a new build in its
/// place while it runs, and then the system knows no path any more.
pub(crate) fn own() -> Result<PathBuf, String> {
    static OWN: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    OWN.get_or_init(|| std::env::current_exe().map_err(|e| format!("find this program: {e}"))).clone()
}

impl Project {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self, String> {
        let output = cargo(&["metadata", "--format-version=1", "--locked", "--all-features"])
            .stderr(std::process::Stdio::inherit())
            .output()
            .map_err(|e| format!("run cargo metadata: {e}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", output.status));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
        let path = |key: &str| metadata[key].as_str().map(PathBuf::from).ok_or(format!("cargo metadata has no {key}"));
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
            packages: metadata["packages"].as_array().cloned().unwrap_or_default(),
        })
    }

    /// The workspace's own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Value> {
        self.packages.iter().filter(|p| p["source"].is_null())
    }

    fn member(&self, name: &str) -> Option<&Value> {
        self.members().find(|p| p["name"] == name)
    }

    /// The features of a member, less `default`.
    pub(crate) fn features(&self, member: &str) -> Vec<String> {
        let features = self.member(member).and_then(|p| p["features"].as_object());
        features.into_iter().flatten().map(|(name, _)| name.clone()).filter(|n| n != "default").collect()
    }

    /// The example programs: the binaries of `pod-examples`.
    pub(crate) fn examples(&self) -> Vec<String> {
        targets(self.member("pod-examples"), "bin").map(|t| text(&t["name"])).collect()
    }

    /// Every test target that needs root, but not the lab, so that none can be forgotten.
    pub(crate) fn root_tests(&self) -> Vec<MarkedTest> {
        self.marked(|needs| needs.contains(&ROOT_TESTS) && !needs.contains(&LAB_TESTS))
    }

    /// Every test target that needs the lab.
    pub(crate) fn lab_tests(&self) -> Vec<MarkedTest> {
        self.marked(|needs| needs.contains(&LAB_TESTS))
    }

    /// Every test target that needs a lab on the second kernel.
    pub(crate) fn tagged_tests(&self) -> Vec<MarkedTest> {
        self.marked(|needs| needs.contains(&TAGGED_TESTS))
    }

    fn marked(&self, wanted: impl Fn(&[&str]) -> bool) -> Vec<MarkedTest> {
        let mut found = Vec::new();
        for package in self.members() {
            for target in targets(Some(package), "test") {
                let needs = target["required-features"].as_array();
                let needs: Vec<&str> = needs.into_iter().flatten().filter_map(Value::as_str).collect();
                if wanted(&needs) {
                    let name = text(&package["name"]);
                    found.push(MarkedTest {
                        features: needs.iter().map(|feature| format!("{name}/{feature}")).collect(),
                        package: name,
                        target: text(&target["name"]),
                        source: text(&target["src_path"]).into(),
                        folder: text(&package["manifest_path"]).trim_end_matches("/Cargo.toml").into(),
                    });
                }
            }
        }
        found
    }
}

fn targets<'a>(package: Option<&'a Value>, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = package.and_then(|p| p["targets"].as_array()).into_iter().flatten();
    all.filter(move |t| t["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == kind)))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_tests_are_found_by_their_feature() {
        let package = serde_json::json!({
            "name": "a", "source": null, "features": { "default": [], "x": [] }, "manifest_path": "/w/a/Cargo.toml",
            "targets": [
                { "name": "plain", "kind": ["test"] },
                { "name": "root", "kind": ["test"], "required-features": ["root-tests"], "src_path": "/w/a/root.rs" },
                { "name": "servers", "kind": ["test"], "required-features": ["lab-tests"], "src_path": "/w/a/s.rs" },
                {
                    "name": "both", "kind": ["test"], "required-features": ["root-tests", "lab-tests"],
                    "src_path": "/w/a/both.rs",
                },
            ],
        });
        let project = Project { root: "/".into(), target: "/t".into(), packages: vec![package] };
        let test = |target: &str, features: &[&str], source: &str| MarkedTest {
            package: "a".into(),
            target: target.into(),
            features: features.iter().map(ToString::to_string).collect(),
            source: source.into(),
            folder: "/w/a".into(),
        };
        assert_eq!(project.root_tests(), [test("root", &["a/root-tests"], "/w/a/root.rs")]);
        let servers = test("servers", &["a/lab-tests"], "/w/a/s.rs");
        let both = test("both", &["a/root-tests", "a/lab-tests"], "/w/a/both.rs");
        assert_eq!(project.lab_tests(), [servers, both]);
        assert_eq!(project.features("a"), ["x"]);
    }
}
