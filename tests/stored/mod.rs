//! Comparison with a stored file that `EVERGREEN_BLESS=1` regenerates.

use std::path::Path;

/// Fails at the first line in which `found` differs from the stored file at `path` (from the repository's root).
pub(crate) fn compare(path: &str, found: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("EVERGREEN_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, found).unwrap();
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    let mut lines = stored.lines().zip(found.lines()).enumerate();
    if let Some((number, (stored, found))) = lines.find(|(_, (stored, found))| stored != found) {
        panic!(
            "{path}:{}: expected\n{stored}\nfound\n{found}\nrun with EVERGREEN_BLESS=1 if the change is wanted",
            number + 1
        );
    }
    let (stored, found) = (stored.lines().count(), found.lines().count());
    assert_eq!(
        stored, found,
        "{path}: number of lines; run with EVERGREEN_BLESS=1 if the change is wanted"
    );
}
