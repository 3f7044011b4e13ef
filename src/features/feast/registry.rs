//! Feast's registry file: a serialized `feast.core.Registry`. Only the parts that locate features and give the
//! types of their keys; the field numbers are those of Feast's `.proto` files (0.67).

use std::path::Path;
use std::sync::Arc;

use prost::Message;

use crate::file_backed::FileBacked;
use crate::files;

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeastRegistry {
    #[prost(message, repeated, tag = "1")]
    pub(super) entities: Vec<FeastEntity>,
    #[prost(message, repeated, tag = "6")]
    feature_views: Vec<FeatureView>,
    #[prost(message, repeated, tag = "7")]
    services: Vec<FeatureService>,
    /// Stream feature views; they have the same fields, as far as these are used.
    #[prost(message, repeated, tag = "14")]
    stream_views: Vec<FeatureView>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeastEntity {
    #[prost(message, optional, tag = "1")]
    spec: Option<EntitySpec>,
}

#[derive(Clone, PartialEq, Message)]
struct EntitySpec {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    value_type: i32,
    #[prost(string, tag = "4")]
    join_key: String,
}

#[derive(Clone, PartialEq, Message)]
struct FeatureView {
    #[prost(message, optional, tag = "1")]
    spec: Option<ViewSpec>,
}

/// The specification of a feature view.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ViewSpec {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "3")]
    entities: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    features: Vec<FeastFeature>,
    #[prost(message, optional, tag = "6")]
    ttl: Option<Duration>,
    #[prost(message, repeated, tag = "12")]
    entity_columns: Vec<FeastFeature>,
}

#[derive(Clone, PartialEq, Message)]
struct FeastFeature {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    value_type: i32,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct FeatureService {
    #[prost(message, optional, tag = "1")]
    spec: Option<ServiceSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceSpec {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    features: Vec<Projection>,
}

#[derive(Clone, PartialEq, Message)]
struct Projection {
    #[prost(string, tag = "1")]
    view: String,
    #[prost(message, repeated, tag = "2")]
    features: Vec<FeastFeature>,
    #[prost(string, tag = "3")]
    alias: String,
}

/// The registry file; read again when it changes.
#[derive(Debug)]
pub(super) struct RegistryFile(FileBacked<FeastRegistry>);

impl RegistryFile {
    /// Reads the file.
    ///
    /// # Errors
    /// See [`FeastRegistry::read`].
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let on_reload = |read: Result<&FeastRegistry, &str>| {
            if let Err(error) = read {
                tracing::error!(error, "Feast registry reload failed, keeping the previous one");
            }
        };
        let file = path.to_owned();
        let read = move || FeastRegistry::read(&file);
        FileBacked::new(vec![path.to_owned()], read, Box::new(on_reload)).map(Self)
    }

    /// The present registry; the previous one while the file cannot be read.
    pub(super) fn current(&self) -> Arc<FeastRegistry> {
        self.0.refresh();
        self.0.get().clone()
    }
}

impl FeastRegistry {
    /// Reads the file.
    ///
    /// # Errors
    /// The file cannot be read or is not a registry.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let bytes =
            files::read(path, files::LISTS).map_err(|error| format!("{}: {error}", path.display()))?;
        let registry = Self::decode(bytes.as_slice())
            .map_err(|error| format!("{}: not a Feast registry file: {error}", path.display()))?;
        if registry.views().next().is_none() {
            return Err(format!(
                "{}: no feature view found; run `feast apply`",
                path.display()
            ));
        }
        Ok(registry)
    }

    /// All feature views.
    pub(super) fn views(&self) -> impl Iterator<Item = &ViewSpec> {
        let views = self.feature_views.iter().chain(&self.stream_views);
        views.filter_map(|view| view.spec.as_ref())
    }

    /// Finds the view of a feature. Without a `group` it is looked up in `service`, or in all views.
    ///
    /// # Errors
    /// No view has it, or several have.
    pub(super) fn find(
        &self,
        group: Option<&str>,
        feature: &str,
        service: &str,
    ) -> Result<&ViewSpec, String> {
        let names: Vec<&str> = match (group, service) {
            (Some(group), service) => vec![self.unaliased(group, service)],
            (None, "") => self
                .views()
                .filter(|view| view.has(feature))
                .map(|view| view.name.as_str())
                .collect(),
            (None, service) => self
                .projections(service)?
                .filter(|view| view.has(feature))
                .map(|view| view.view.as_str())
                .collect(),
        };
        match names.as_slice() {
            [] => Err(format!("no feature view has `{feature}`")),
            [name] => {
                let view = self.views().find(|view| view.name == *name);
                let view = view.ok_or_else(|| {
                    let known: Vec<&str> = self.views().map(|view| view.name.as_str()).collect();
                    format!(
                        "the registry has no feature view `{name}`; it has {}",
                        known.join(", ")
                    )
                })?;
                if view.has(feature) {
                    Ok(view)
                } else {
                    let known = view.features.iter().map(|known| known.name.as_str());
                    let hint = crate::suggest::hint(feature, known);
                    Err(format!("feature view `{name}` has no `{feature}`{hint}"))
                }
            }
            several => Err(format!(
                "`{feature}` is in several feature views ({}); write source = \"VIEW:{feature}\"",
                several.join(", ")
            )),
        }
    }

    /// The type of the values of a view's join key, as Feast numbers them.
    ///
    /// # Errors
    /// The view has another key than `entity`, or several.
    pub(super) fn key_type(&self, view: &ViewSpec, entity: &str) -> Result<i32, String> {
        let keys: Vec<(&str, i32)> = view.entities.iter().map(|name| self.join_key(name)).collect();
        match keys.as_slice() {
            [(key, kind)] if *key == entity => {
                let column = view.entity_columns.iter().find(|column| column.name == *key);
                Ok(column.map_or(*kind, |column| column.value_type))
            }
            keys => {
                let names: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
                Err(format!(
                    "feature view `{}` is keyed by ({}), the contract's entity is `{entity}`",
                    view.name,
                    names.join(", ")
                ))
            }
        }
    }

    /// The join key of an entity and the type of its values.
    fn join_key<'a>(&'a self, entity: &'a str) -> (&'a str, i32) {
        let mut specs = self.entities.iter().filter_map(|known| known.spec.as_ref());
        let spec = specs.find(|spec| spec.name == entity);
        spec.map_or((entity, 0), |spec| (&spec.join_key, spec.value_type))
    }

    /// The name of a view behind an alias of the service.
    fn unaliased<'a>(&'a self, group: &'a str, service: &str) -> &'a str {
        let mut projections = self.projections(service).into_iter().flatten();
        projections
            .find(|view| view.alias == group)
            .map_or(group, |view| &view.view)
    }

    fn projections(&self, service: &str) -> Result<impl Iterator<Item = &Projection>, String> {
        let mut specs = self.services.iter().filter_map(|known| known.spec.as_ref());
        let spec = specs.find(|spec| spec.name == service);
        let spec = spec.ok_or_else(|| format!("the registry has no feature service `{service}`"))?;
        Ok(spec.features.iter())
    }
}

impl ViewSpec {
    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|known| known.name == feature)
    }

    /// Seconds after which its values are too old; `None` for never.
    pub(super) fn max_age(&self) -> Option<f64> {
        let ttl = self.ttl.as_ref()?;
        #[expect(clippy::cast_precision_loss, reason = "a length of time")]
        let seconds = ttl.seconds as f64 + f64::from(ttl.nanos) / 1e9;
        (seconds > 0.0).then_some(seconds)
    }
}

impl Projection {
    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|known| known.name == feature)
    }
}
