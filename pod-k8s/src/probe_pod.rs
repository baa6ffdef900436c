//! Pods that are made only to look at the cluster from, and removed afterwards.

use crate::owner::PROBE_UNTIL;
use pod_core::{Image, WorkloadName, WorkloadSpec};

/// How long a look may take, in seconds. The pod's command ends then, and `gc` takes one that is left.
const STAYS: i64 = 600;

/// A pod of this name that stays for as long as a look may take. The image needs a `sleep`.
pub(crate) fn spec(name: &WorkloadName, image: Option<Image>) -> WorkloadSpec {
    let until = jiff::Timestamp::now().as_second() + STAYS;
    let mut spec = WorkloadSpec::new(name.clone())
        .with_command(["sleep".to_owned(), STAYS.to_string()])
        .with_label(PROBE_UNTIL, until.to_string());
    spec.image = image;
    spec
}
