//! Locations of files: a path, or a URL in object storage.

use std::path::Path;

/// The schemes of locations in object storage.
const SCHEMES: [&str; 6] = ["s3://", "s3a://", "gs://", "az://", "azure://", "abfss://"];

/// Whether a location is in object storage.
pub fn is_remote(location: &Path) -> bool {
    let text = location.to_str().unwrap_or_default();
    SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_object_storage_are_remote_and_paths_are_not() {
        for remote in ["s3://bucket/models", "gs://b", "az://c/d", "abfss://e"] {
            assert!(is_remote(Path::new(remote)), "{remote}");
        }
        for local in ["models", "/srv/s3/models", "s3:/x", "./gs://x"] {
            assert!(!is_remote(Path::new(local)), "{local}");
        }
    }
}
