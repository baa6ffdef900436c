//! What is applied to the cluster: the custom resources of Multus and whereabouts, and their rights.

use super::control::{self, kubectl};
use super::parts::Part;
use super::process::output;
use super::site::{self, Lab};

/// The name of the part.
pub(super) const NAME: &str = "addons";

/// The files of `lab/manifests`.
#[derive(Debug)]
pub(super) struct Addons;

impl Part for Addons {
    fn name(&self) -> String {
        NAME.into()
    }

    fn needs(&self) -> Vec<String> {
        vec![control::API.into()]
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        let folder = site::manifests().join("manifests").display().to_string();
        output(&mut kubectl(lab, &["apply", "--server-side", "--filename", &folder])?).map(drop)
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        let path = r#"jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Established")].status}{"\n"}{end}"#;
        let listed = output(&mut kubectl(lab, &["get", "customresourcedefinitions", "-o", path])?)?;
        match listed.lines().find(|l| !l.ends_with("=True")) {
            Some(line) => Err(format!("not established: {line}")),
            None => Ok(()),
        }
    }
}
