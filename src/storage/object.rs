//! A prefix in object storage. A small runtime of its own does the waiting, so that callers see plain calls.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::{
    ClientOptions, Error, GetOptions, ListResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode,
    PutOptions, PutPayload, RetryConfig,
};
use tokio::runtime::Runtime;

use super::{E_TAG, FileStat, Listing, LocalCopy, Temporary, file_name, too_large, version_number};
use crate::config::StorageSection;
use crate::files;

/// Bytes fetched with one request: a broken connection repeats no more than this.
const CHUNK: u64 = 8 << 20;

/// Files larger than this go up in parts of this size.
const PART: usize = 8 << 20;

/// Marks a version's number as taken before its files are there. Readers go by the manifest, which comes last.
const CLAIM: &str = ".claim";

#[derive(Debug)]
pub(super) struct Bucket {
    store: Box<dyn ObjectStore>,
    prefix: Key,
    location: String,
    cache: PathBuf,
    runtime: Runtime,
}

impl Bucket {
    pub(super) fn open(location: &Path, settings: &StorageSection) -> Result<Self, String> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Fails if another caller has installed it already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let location = location.to_string_lossy().trim_end_matches('/').to_owned();
        let fail = |error: Error| format!("{location}: {error}");
        let store = open(&location, settings).map_err(fail)?;
        // scheme://bucket/prefix
        let prefix = location.splitn(4, '/').nth(3).unwrap_or_default();
        let prefix = Key::parse(prefix).map_err(|error| format!("{location}: {error}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            store,
            prefix,
            cache: settings.cache(),
            runtime,
            location,
        })
    }

    /// The key of a path, character by character. A listed name such as `ts=04%3A00` is the key of its object already;
    /// `Key::join` would encode it a second time.
    fn key(&self, path: &str) -> Result<Key, String> {
        let parts = self.prefix.as_ref().split('/').chain(path.split('/'));
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        Key::parse(parts.join("/")).map_err(|error| format!("{}/{path}: {error}", self.location))
    }

    fn fail(&self, path: &str, error: &Error) -> String {
        format!("{}/{path}: {error}", self.location)
    }

    fn list(&self, path: &str) -> Result<ListResult, String> {
        let key = self.key(path)?;
        let list = self.store.list_with_delimiter(Some(&key));
        self.runtime
            .block_on(list)
            .map_err(|error| self.fail(path, &error))
    }

    pub(super) fn folders(&self, path: &str) -> Result<Vec<String>, String> {
        let list = self.list(path)?;
        let names = list.common_prefixes.iter().filter_map(Key::filename);
        let mut names: Vec<String> = names
            .filter(|name| !name.starts_with('.'))
            .map(str::to_owned)
            .collect();
        names.sort();
        Ok(names)
    }

    pub(super) fn stat(&self, path: &str) -> Result<Option<Listing>, String> {
        let list = self.list(path)?;
        let mut files: Vec<FileStat> = list.objects.iter().filter_map(stat).collect();
        files.retain(|file| file.name != CLAIM);
        files.sort();
        if !files.is_empty() {
            return Ok(Some(Listing::Folder(files)));
        }
        match self.runtime.block_on(self.store.head(&self.key(path)?)) {
            Ok(meta) => Ok(stat(&meta).map(Listing::File)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.fail(path, &error)),
        }
    }

    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let key = self.key(path)?;
        let get = async {
            let object = self.store.get(&key).await?;
            let size = object.meta.size;
            if size > files::SMALL {
                return Ok(Err(too_large(path, size)));
            }
            object.bytes().await.map(|bytes| Ok(bytes.to_vec()))
        };
        match self.runtime.block_on(get) {
            Ok(bytes) => bytes.map(Some),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.fail(path, &error)),
        }
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8]) -> Result<(), String> {
        let key = self.key(path)?;
        let put = self.store.put(&key, PutPayload::from(bytes.to_vec()));
        let done = self.runtime.block_on(put).map(drop);
        done.map_err(|error| self.fail(path, &error))
    }

    pub(super) fn fetch(&self, path: &str, entry: &Listing) -> Result<LocalCopy, String> {
        let copy = Temporary::folder(&self.cache)?;
        let path = match entry {
            Listing::File(file) => {
                let to = copy.path().join(&file.name);
                self.download(&self.key(path)?, file, &to)?;
                to
            }
            Listing::Folder(files) => {
                for file in files {
                    let key = self.key(&format!("{path}/{}", file.name))?;
                    self.download(&key, file, &copy.path().join(&file.name))?;
                }
                copy.path().to_owned()
            }
        };
        Ok(LocalCopy {
            path,
            _copy: Some(copy),
        })
    }

    /// Fetches an object piece by piece, all pieces of the one that was listed.
    fn download(&self, key: &Key, file: &FileStat, to: &Path) -> Result<(), String> {
        let fail_local = |error: std::io::Error| format!("{}: {error}", to.display());
        let mut target = File::create_new(to).map_err(fail_local)?;
        let mut at = 0;
        while at < file.size {
            let end = file.size.min(at + CHUNK);
            let options = GetOptions {
                range: Some((at..end).into()),
                if_match: file.tag.strip_prefix(E_TAG).map(str::to_owned),
                ..GetOptions::default()
            };
            let get = async { self.store.get_opts(key, options).await?.bytes().await };
            let bytes = self.runtime.block_on(get).map_err(|error| match error {
                Error::Precondition { .. } => format!("{key}: has changed since it was listed"),
                error => self.fail(key.as_ref(), &error),
            })?;
            target.write_all(&bytes).map_err(fail_local)?;
            at = end;
        }
        Ok(())
    }

    /// The number is claimed by an object that only one publisher can create; then come the files, and the manifest
    /// last. A publisher that is killed leaves a number without a manifest, which is no version.
    pub(super) fn publish(
        &self,
        folder: &str,
        at_least: u64,
        files: &[PathBuf],
        manifest: Option<&Path>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, String> {
        let newest = self.folders(folder)?;
        let newest = newest.iter().filter_map(|name| version_number(name)).max();
        let mut version = newest.map_or(1, |newest| newest + 1).max(at_least);
        while !self.claim(&format!("{folder}/{version}"))? {
            version += 1;
        }
        let folder = format!("{folder}/{version}");
        for file in files.iter().map(PathBuf::as_path).chain(manifest) {
            self.upload(&folder, file, progress)?;
        }
        Ok(version)
    }

    fn claim(&self, folder: &str) -> Result<bool, String> {
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let key = self.key(&format!("{folder}/{CLAIM}"))?;
        let put = self.store.put_opts(&key, PutPayload::new(), options);
        match self.runtime.block_on(put) {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.fail(folder, &error)),
        }
    }

    /// Copies a local file, in parts if it is large: no more than one of them is in memory.
    pub(super) fn upload(
        &self,
        folder: &str,
        file: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), String> {
        let fail_local = |error: std::io::Error| format!("{}: {error}", file.display());
        let (mut source, metadata) = files::open(file).map_err(fail_local)?;
        let key = self.key(&format!("{folder}/{}", file_name(file)?))?;
        let fail = |error: Error| self.fail(folder, &error);
        let mut piece = next_piece(&mut source).map_err(fail_local)?;
        if metadata.len() <= PART as u64 {
            progress(piece.len() as u64);
            let put = self.store.put(&key, piece.into());
            return self.runtime.block_on(put).map(drop).map_err(fail);
        }
        let mut upload = self
            .runtime
            .block_on(self.store.put_multipart(&key))
            .map_err(fail)?;
        while !piece.is_empty() {
            let size = piece.len() as u64;
            let put = upload.put_part(piece.into());
            self.runtime.block_on(put).map_err(fail)?;
            progress(size);
            piece = next_piece(&mut source).map_err(fail_local)?;
        }
        self.runtime.block_on(upload.complete()).map(drop).map_err(fail)
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), String> {
        match self.runtime.block_on(self.store.delete(&self.key(path)?)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.fail(path, &error)),
        }
    }
}

/// The next bytes of a file, up to a part of an upload.
fn next_piece(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut piece = Vec::new();
    file.take(PART as u64).read_to_end(&mut piece)?;
    Ok(piece)
}

/// An object as a file; `None` for the empty object that some tools put where a folder would be.
fn stat(meta: &ObjectMeta) -> Option<FileStat> {
    let name = meta.location.filename()?.to_owned();
    let tag = match &meta.e_tag {
        Some(tag) => format!("{E_TAG}{tag}"),
        None => format!("changed {}", meta.last_modified.timestamp_micros()),
    };
    let size = meta.size;
    Some(FileStat { name, size, tag })
}

/// The client of a location: what the environment says (`AWS_…`, `GOOGLE_…`, `AZURE_…`), then the settings.
fn open(location: &str, settings: &StorageSection) -> Result<Box<dyn ObjectStore>, Error> {
    let retry = RetryConfig {
        max_retries: 3,
        retry_timeout: Duration::from_secs(settings.timeout_seconds),
        ..RetryConfig::default()
    };
    let client = ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(settings.timeout_seconds.min(5)))
        .with_timeout(Duration::from_secs(settings.timeout_seconds))
        .with_allow_http(settings.allow_http);
    Ok(if location.starts_with("gs://") {
        let builder = GoogleCloudStorageBuilder::from_env().with_url(location);
        let builder = match settings.endpoint.as_str() {
            "" => builder,
            endpoint => builder.with_base_url(endpoint),
        };
        Box::new(builder.with_retry(retry).with_client_options(client).build()?)
    } else if location.starts_with("s3") {
        let mut builder = AmazonS3Builder::from_env().with_url(location);
        for (value, set) in [
            (
                &settings.endpoint,
                AmazonS3Builder::with_endpoint as fn(_, String) -> _,
            ),
            (&settings.region, AmazonS3Builder::with_region),
            (&settings.access_key, AmazonS3Builder::with_access_key_id),
            (&settings.secret_key, AmazonS3Builder::with_secret_access_key),
        ] {
            if !value.is_empty() {
                builder = set(builder, value.clone());
            }
        }
        Box::new(builder.with_retry(retry).with_client_options(client).build()?)
    } else {
        let mut builder = MicrosoftAzureBuilder::from_env().with_url(location);
        for (value, set) in [
            (
                &settings.endpoint,
                MicrosoftAzureBuilder::with_endpoint as fn(_, String) -> _,
            ),
            (&settings.access_key, MicrosoftAzureBuilder::with_account),
            (&settings.secret_key, MicrosoftAzureBuilder::with_access_key),
        ] {
            if !value.is_empty() {
                builder = set(builder, value.clone());
            }
        }
        Box::new(builder.with_retry(retry).with_client_options(client).build()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_name_is_the_key_of_its_object() {
        let bucket = Bucket::open(Path::new("s3://lake/rows"), &StorageSection::default()).unwrap();
        for name in ["ts=04%3A00", "a b", "a#b~[c]{d}^|<e>*?\"", "für=ä"] {
            assert_eq!(bucket.key(name).unwrap().as_ref(), format!("rows/{name}"));
        }
        assert_eq!(bucket.key("").unwrap().as_ref(), "rows");
        assert_eq!(bucket.key("a%3A/b").unwrap().as_ref(), "rows/a%3A/b");
        assert!(bucket.key("../x").is_err());
    }
}
