//! Images of a registry that wants a login: the lab's, on each of its engines.

mod lab;

use lab::Engine;
use pod_core::{CreateRequest, Error, ErrorKind, Image, RemoveRequest, Result, WorkloadName};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const ENGINES: [Engine; 3] = [Engine::Docker, Engine::Moby, Engine::Podman];

fn told(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run `cargo xtask test`"))
}

/// The registry's host and port.
fn host() -> String {
    told("POD_LAB_REGISTRY")
}

fn user_and_password() -> (String, String) {
    let login = told("POD_LAB_REGISTRY_LOGIN");
    let (user, password) = login.split_once(':').expect("a colon");
    (user.to_owned(), password.to_owned())
}

/// What a program says that must not fail.
fn run(command: &mut Command, input: &str) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("written");
    let done = child.wait_with_output().expect("its end");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Docker's own client, with its configuration in a folder.
fn docker(engine: Engine, config: &Path, words: &[&str], input: &str) -> String {
    let socket = format!("unix://{}", engine.socket());
    run(Command::new("docker").arg("--config").arg(config).args(["-H", &socket]).args(words), input)
}

/// A folder in which Docker's own client keeps the lab's login.
fn logged_in() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let (user, password) = user_and_password();
    docker(Engine::Docker, dir.path(), &["login", "-u", &user, "--password-stdin", &host()], &password);
    dir
}

/// A folder with a login that the registry does not know.
fn with_login(both: &str) -> tempfile::TempDir {
    use base64::Engine as _;
    let dir = tempfile::tempdir().expect("a folder");
    let auth = base64::engine::general_purpose::STANDARD.encode(both);
    let config = serde_json::json!({"auths": {host(): {"auth": auth}}});
    std::fs::write(dir.path().join("config.json"), config.to_string()).expect("written");
    dir
}

/// The lab's image in the registry, under a name that no other test has, and its digest.
struct Pushed {
    name: String,
    digest: String,
}

fn pushed(what: &str) -> Pushed {
    let dir = logged_in();
    let name = format!("{}/private/{}", host(), lab::unique(what));
    let tag = format!("{name}:1");
    docker(Engine::Docker, dir.path(), &["tag", &lab::image().to_string(), &tag], "");
    let said = docker(Engine::Docker, dir.path(), &["push", &tag], "");
    docker(Engine::Docker, dir.path(), &["rmi", &tag], "");
    let digest = said.split_whitespace().find(|w| w.starts_with("sha256:")).expect("a digest").to_owned();
    Pushed { name, digest }
}

/// Runs a workload of an image on an engine that has to pull it, and removes both.
async fn pulled(engine: Engine, config: Option<&Path>, image: &str) -> Result<()> {
    let mut uri = engine.uri();
    if let Some(config) = config {
        uri = uri.with_option("config", config.display().to_string());
    }
    let backend = lab::registry().connect(&uri).await?;
    let name: WorkloadName = lab::unique("pull");
    let spec = lab::spec(&name).with_image(image.parse::<Image>()?);
    let made = backend.create(CreateRequest::new(spec).with_start()).await;
    backend.remove(RemoveRequest::new(name).with_force(true)).await?;
    if made.is_ok() {
        let empty = tempfile::tempdir().expect("a folder");
        docker(engine, empty.path(), &["rmi", image], "");
    }
    made.map(drop)
}

/// The error of an image that can't be had.
async fn refused(engine: Engine, config: &Path, image: &str) -> Error {
    pulled(engine, Some(config), image).await.expect_err("it was pulled")
}

#[tokio::test]
async fn a_private_image_comes_with_the_login_of_dockers_client() {
    let (image, dir) = (pushed("docker"), logged_in());
    for engine in ENGINES {
        let done = pulled(engine, Some(dir.path()), &format!("{}:1", image.name)).await;
        done.unwrap_or_else(|e| panic!("on {engine:?}: {e}"));
    }
}

#[tokio::test]
async fn a_private_image_is_pulled_by_its_digest() {
    let (image, dir) = (pushed("digest"), logged_in());
    for engine in ENGINES {
        let done = pulled(engine, Some(dir.path()), &format!("{}@{}", image.name, image.digest)).await;
        done.unwrap_or_else(|e| panic!("on {engine:?}: {e}"));
    }
}

/// Its place is told by the environment: so this runs itself again, with another.
#[test]
fn a_private_image_comes_with_the_login_of_podmans_client() {
    if let Ok(image) = std::env::var("TEST_OF_PODMANS_LOGIN") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(pulled(Engine::Podman, None, &image)).expect("it is pulled");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (file, (user, password)) = (dir.path().join("auth.json"), user_and_password());
    std::fs::copy(told("POD_LAB_REGISTRY_CA"), dir.path().join("ca.crt")).expect("copied");
    let mut login = Command::new("podman");
    login.arg("login").arg("--authfile").arg(&file).arg("--cert-dir").arg(dir.path());
    run(login.args(["--username", &user, "--password-stdin", &host()]), &password);
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args(["--exact", "a_private_image_comes_with_the_login_of_podmans_client"]);
    again.env("REGISTRY_AUTH_FILE", file).env("TEST_OF_PODMANS_LOGIN", format!("{}:1", pushed("podman").name));
    let said = run(&mut again, "");
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn without_a_login_it_is_told_how_to_log_in() {
    let (image, empty) = (pushed("nobody"), tempfile::tempdir().expect("a folder"));
    for engine in ENGINES {
        let e = refused(engine, empty.path(), &format!("{}:1", image.name)).await;
        assert_eq!(e.kind(), ErrorKind::Unauthenticated, "on {engine:?}: {e}");
        let how = format!("`{} login {}`", engine.scheme(), host());
        assert!(
            e.hint().is_some_and(|h| h.contains(&how)) && e.to_string().contains(&image.name),
            "on {engine:?}: {e}"
        );
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_from_none_and_not_repeated() {
    let (image, dir) = (pushed("wrong"), with_login("lab:a-bad-word"));
    for engine in ENGINES {
        let e = refused(engine, dir.path(), &format!("{}:1", image.name)).await;
        assert_eq!(e.kind(), ErrorKind::Unauthenticated, "on {engine:?}: {e}");
        assert!(e.hint().is_some_and(|h| h.contains("refuses the login that is kept")), "on {engine:?}: {e}");
        assert!(!format!("{e:?}").contains("a-bad-word"), "on {engine:?}: {e:?}");
    }
}

#[tokio::test]
async fn an_image_and_a_tag_that_are_not_there() {
    let (image, dir) = (pushed("tag"), logged_in());
    for engine in ENGINES {
        for missing in [format!("{}:2", image.name), format!("{}/private/no-such-image:1", host())] {
            let e = refused(engine, dir.path(), &missing).await;
            assert_eq!(e.kind(), ErrorKind::NotFound, "on {engine:?}: {e}");
            assert!(e.hint().is_some_and(|h| h.contains("the name and the tag")), "on {engine:?}: {e}");
            assert!(e.to_string().contains(&missing), "on {engine:?}: {e}");
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let host = host();
    let (address, _) = host.split_once(':').expect("a port");
    for engine in ENGINES {
        let e = refused(engine, dir.path(), &format!("{address}:1/a:1")).await;
        assert_eq!(e.kind(), ErrorKind::Unavailable, "on {engine:?}: {e}");
        assert!(e.hint().is_some_and(|h| h.contains("registry's name")), "on {engine:?}: {e}");
    }
}
