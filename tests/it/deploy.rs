//! What is deployed: its settings are good, and the example of its secrets is not.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::alerts::yaml;
use crate::program::{rollcall, run, text};

const SETTINGS: &str = "deploy/overlays/embedded/rollcall.toml";

/// `rollcall check` of the deployed settings, with these files as the mounted secrets.
fn check(secrets: &Value) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = rollcall(&["check", "--config"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(SETTINGS));
    for (file, key) in
        [("ops_tokens", "OPS__TOKENS"), ("api_token", "SOURCES__MAIN__API_TOKEN"), ("webhook_secrets", "SOURCES__MAIN__WEBHOOK_SECRETS")]
    {
        let path = folder.path().join(file);
        std::fs::write(&path, secrets[file].as_str().unwrap()).unwrap();
        command.env(format!("ROLLCALL__{key}_FILE"), path);
    }
    run(&mut command, b"")
}

#[test]
fn the_deployed_settings_are_good() {
    let secrets = serde_json::json!({
        "ops_tokens": "grafana:read:token-of-grafana\n", "api_token": "token-of-the-tenant\n", "webhook_secrets": "secret-of-the-webhook\n"
    });
    let good = check(&secrets);
    assert!(good.status.success() && text(&good.stdout).contains("0.0.0.0:9090"), "{good:?}");
}

#[test]
fn the_example_of_the_secrets_is_refused_with_the_keys_to_mend() {
    let secrets = &yaml("deploy/overlays/embedded/secret.example.yaml")["stringData"];
    let refused = check(secrets);
    let told = text(&refused.stderr);
    assert_eq!((refused.status.code(), told.lines().count()), (Some(2), 3), "{told}");
    let settings = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SETTINGS)).unwrap();
    for file in secrets.as_object().unwrap().keys() {
        assert!(settings.contains(&format!("_file = \"/run/secrets/rollcall/{file}\"")), "{file} is read by no setting");
    }
    for key in ["ops.tokens", "sources.main.api_token", "sources.main.webhook_secrets"] {
        assert!(told.contains(key), "{key}: {told}");
    }
}

#[test]
fn image_and_deployment_name_the_version_that_is_built() {
    let version = env!("CARGO_PKG_VERSION");
    let dockerfile = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile")).unwrap();
    assert!(dockerfile.contains(&format!("\nARG VERSION={version}\n")));
    assert_eq!(yaml("deploy/overlays/embedded/kustomization.yaml")["images"][0]["newTag"], version);
}
