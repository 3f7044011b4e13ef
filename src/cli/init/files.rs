//! Writes the files around the bundle: settings, compose file, manifests for Kubernetes, and a README.

use std::path::Path;

use super::bundle::{put, quoted};
use crate::cli::sink::OutputFormat;

/// The manifests of the base, the same as in the repository of Evergreen.
const BASE: [(&str, &str); 8] = [
    (
        "deployment.yaml",
        include_str!("../../../k8s/base/deployment.yaml"),
    ),
    ("evergreen.toml", include_str!("../../../k8s/base/evergreen.toml")),
    ("hpa.yaml", include_str!("../../../k8s/base/hpa.yaml")),
    (
        "kustomization.yaml",
        include_str!("../../../k8s/base/kustomization.yaml"),
    ),
    (
        "networkpolicy.yaml",
        include_str!("../../../k8s/base/networkpolicy.yaml"),
    ),
    (
        "poddisruptionbudget.yaml",
        include_str!("../../../k8s/base/poddisruptionbudget.yaml"),
    ),
    ("service.yaml", include_str!("../../../k8s/base/service.yaml")),
    (
        "serviceaccount.yaml",
        include_str!("../../../k8s/base/serviceaccount.yaml"),
    ),
];

/// The files, with `{{name}}`, `{{customers}}` and `{{version}}` to be replaced.
const FILES: [(&str, &str); 6] = [
    ("evergreen.toml", include_str!("templates/evergreen.toml")),
    ("compose.yaml", include_str!("templates/compose.yaml")),
    ("Dockerfile", include_str!("templates/Dockerfile")),
    ("README.md", include_str!("templates/README.md")),
    (
        "k8s/kustomization.yaml",
        include_str!("templates/kustomization.yaml"),
    ),
    ("k8s/evergreen.toml", include_str!("templates/kubernetes.toml")),
];

/// Writes the files into `folder`, and copies the rows as its customers.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write(folder: &Path, name: &str, rows: &Path) -> Result<(), String> {
    let fail = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let base = folder.join("k8s/base");
    std::fs::create_dir_all(&base).map_err(|error| fail(&base, error))?;
    for (file, text) in BASE {
        put(&base.join(file), text.as_bytes())?;
    }
    // Only the ending of its format: the rest of a name may have spaces, which the Dockerfile does not allow.
    let customers = format!("customers{}", OutputFormat::of(rows)?.ending());
    for (file, text) in FILES {
        let text = text
            .replace("\"{{customers}}\"", &quoted(&customers))
            .replace("{{customers}}", &customers)
            .replace("{{name}}", name)
            .replace("{{image}}", &image_name(name))
            .replace("{{version}}", env!("CARGO_PKG_VERSION"));
        put(&folder.join(file), text.as_bytes())?;
    }
    let target = folder.join(customers);
    std::fs::copy(rows, &target)
        .map(drop)
        .map_err(|error| fail(&target, error))
}

/// A name for the image: as `name`, but images have lower-case names that begin and end with a letter or digit, with one
/// separator between two parts.
fn image_name(name: &str) -> String {
    let mut image = String::new();
    let mut separator = None;
    for letter in name.to_ascii_lowercase().chars() {
        if !letter.is_ascii_alphanumeric() {
            separator = Some(separator.map_or(letter, |_| '-'));
            continue;
        }
        let between = separator.take().filter(|_| !image.is_empty());
        image.extend(between.into_iter().chain([letter]));
    }
    if image.is_empty() {
        return "model".to_owned();
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_valid_names() {
        let names = ["churn", "_M.v1", "Churn__2026..x-", "..."].map(image_name);
        assert_eq!(names, ["churn", "m.v1", "churn-2026-x", "model"]);
    }

    #[test]
    fn customers_keep_only_the_ending_of_their_format() {
        let folder = tempfile::tempdir().unwrap();
        let rows = folder.path().join("my.rows v1.csv.gz");
        std::fs::write(&rows, "id\n").unwrap();
        write(folder.path(), "churn", &rows).unwrap();
        assert!(folder.path().join("customers.csv.gz").exists());
        let dockerfile = std::fs::read_to_string(folder.path().join("Dockerfile")).unwrap();
        assert!(dockerfile.contains("COPY customers.csv.gz "), "{dockerfile}");
    }
}
