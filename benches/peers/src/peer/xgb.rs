//! XGBoost through its C interface.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

use super::{Explanation, Peer};

type Handle = *mut c_void;
type Create = unsafe extern "C" fn(*const Handle, u64, *mut Handle) -> c_int;
type Load = unsafe extern "C" fn(Handle, *const c_char) -> c_int;
type SetParam = unsafe extern "C" fn(Handle, *const c_char, *const c_char) -> c_int;
type Predict = unsafe extern "C" fn(
    Handle,
    *const c_char,
    *const c_char,
    Handle,
    *mut *const u64,
    *mut u64,
    *mut *const f32,
) -> c_int;

/// The library's plain prediction of all trees.
const CONFIG: &CStr = cr#"{"type": 0, "training": false, "iteration_begin": 0, "iteration_end": 0,
    "strict_shape": false, "missing": NaN, "cache_id": 0}"#;

struct Xgb {
    booster: Handle,
    predict: Predict,
    features: usize,
    one: Vec<f32>,
    one_interface: CString,
    out: Vec<f64>,
    _library: Library,
}

pub(super) fn load(model: &Path, features: usize) -> Result<Box<dyn Peer>, String> {
    if !super::ends_with(model, ".json") || super::ends_with(model, ".cat.json") {
        return Err("not XGBoost's".into());
    }
    let path = super::library("XGBOOST_LIBRARY", "xgboost", "lib/libxgboost.so")?;
    let file = CString::new(model.to_string_lossy().as_bytes()).map_err(|error| error.to_string())?;
    let one = vec![0f32; features];
    // SAFETY: the signatures are those of XGBoost's c_api.h; the library stays loaded with the handle.
    unsafe {
        let library = Library::new(path).map_err(|error| error.to_string())?;
        let symbol = |error: libloading::Error| error.to_string();
        let create: Create = *library.get(b"XGBoosterCreate").map_err(symbol)?;
        let load: Load = *library.get(b"XGBoosterLoadModel").map_err(symbol)?;
        let set: SetParam = *library.get(b"XGBoosterSetParam").map_err(symbol)?;
        let predict: Predict = *library.get(b"XGBoosterPredictFromDense").map_err(symbol)?;
        let mut booster = std::ptr::null_mut();
        let failed = create(std::ptr::null(), 0, &raw mut booster)
            | load(booster, file.as_ptr())
            | set(booster, c"nthread".as_ptr(), c"1".as_ptr());
        if failed != 0 {
            return Err("XGBoost cannot load the model".into());
        }
        Ok(Box::new(Xgb {
            booster,
            predict,
            features,
            one_interface: interface(&one, features),
            one,
            out: Vec::new(),
            _library: library,
        }))
    }
}

/// How numpy's array interface describes rows.
fn interface(rows: &[f32], features: usize) -> CString {
    let (address, count) = (rows.as_ptr() as usize, rows.len() / features);
    let text = format!(
        r#"{{"data": [{address}, true], "shape": [{count}, {features}], "typestr": "<f4", "version": 3}}"#
    );
    CString::new(text).expect("no zero inside")
}

impl Xgb {
    fn run(&mut self, interface: &CStr) {
        let (mut shape, mut dimensions, mut result) = (std::ptr::null(), 0, std::ptr::null());
        // SAFETY: the interface describes rows that live until the call ends; the answer lives until the next.
        unsafe {
            let failed = (self.predict)(
                self.booster,
                interface.as_ptr(),
                CONFIG.as_ptr(),
                std::ptr::null_mut(),
                &raw mut shape,
                &raw mut dimensions,
                &raw mut result,
            );
            assert_eq!(failed, 0);
            let shape = std::slice::from_raw_parts(shape, dimensions as usize);
            let length: u64 = shape.iter().product();
            let answer = std::slice::from_raw_parts(result, length as usize);
            self.out.clear();
            self.out.extend(answer.iter().map(|value| f64::from(*value)));
        }
    }
}

impl Peer for Xgb {
    fn name(&self) -> String {
        "XGBoost".into()
    }

    fn row(&mut self, row: &[f32]) -> &[f64] {
        self.one.copy_from_slice(row);
        let interface = std::mem::take(&mut self.one_interface);
        self.run(&interface);
        self.one_interface = interface;
        &self.out
    }

    fn batch(&mut self, rows: &[f32]) -> &[f64] {
        self.run(&interface(rows, self.features));
        &self.out
    }
}

type CreateMatrix = unsafe extern "C" fn(*const c_char, *const c_char, *mut Handle) -> c_int;
type PredictMatrix =
    unsafe extern "C" fn(Handle, Handle, *const c_char, *mut *const u64, *mut u64, *mut *const f32) -> c_int;
type Version = unsafe extern "C" fn(*mut c_int, *mut c_int, *mut c_int);

/// How a matrix is made.
const MATRIX: &CStr = cr#"{"missing": NaN, "nthread": 1}"#;

struct XgbExplainer {
    name: String,
    booster: Handle,
    config: CString,
    features: usize,
    create: CreateMatrix,
    predict: PredictMatrix,
    /// By address and length: making a matrix is not timed after the first round.
    matrices: HashMap<(usize, usize), Handle>,
    out: Vec<f64>,
    _library: Library,
}

/// XGBoost, explaining rows: each library that `XGBOOST_LIBRARIES` lists, or the one that `load` takes.
pub(super) fn explainers(
    model: &Path,
    features: usize,
    kind: Explanation,
) -> Vec<Result<Box<dyn Peer>, String>> {
    if !super::ends_with(model, ".json")
        || super::ends_with(model, ".cat.json")
        || super::ends_with(model, ".gbdt.json")
    {
        return vec![Err("not XGBoost's".into())];
    }
    let paths = match std::env::var_os("XGBOOST_LIBRARIES") {
        Some(paths) => std::env::split_paths(&paths).collect(),
        None => match super::library("XGBOOST_LIBRARY", "xgboost", "lib/libxgboost.so") {
            Ok(path) => vec![path],
            Err(why) => return vec![Err(why)],
        },
    };
    paths
        .iter()
        .map(|path| explainer(path, model, features, kind))
        .collect()
}

fn explainer(path: &Path, model: &Path, features: usize, kind: Explanation) -> Result<Box<dyn Peer>, String> {
    let file = CString::new(model.to_string_lossy().as_bytes()).map_err(|error| error.to_string())?;
    let number = match kind {
        Explanation::Contributions => 2,
        Explanation::Interactions => 4,
    };
    let config = format!(
        r#"{{"type": {number}, "training": false, "iteration_begin": 0, "iteration_end": 0, "strict_shape": false}}"#
    );
    // SAFETY: the signatures are those of XGBoost's c_api.h; the library stays loaded with the handle.
    unsafe {
        let library = Library::new(path).map_err(|error| error.to_string())?;
        let symbol = |error: libloading::Error| error.to_string();
        let create: Create = *library.get(b"XGBoosterCreate").map_err(symbol)?;
        let load: Load = *library.get(b"XGBoosterLoadModel").map_err(symbol)?;
        let set: SetParam = *library.get(b"XGBoosterSetParam").map_err(symbol)?;
        let create_matrix: CreateMatrix = *library.get(b"XGDMatrixCreateFromDense").map_err(symbol)?;
        let predict: PredictMatrix = *library.get(b"XGBoosterPredictFromDMatrix").map_err(symbol)?;
        let version: Version = *library.get(b"XGBoostVersion").map_err(symbol)?;
        let mut booster = std::ptr::null_mut();
        let failed = create(std::ptr::null(), 0, &raw mut booster)
            | load(booster, file.as_ptr())
            | set(booster, c"nthread".as_ptr(), c"1".as_ptr());
        if failed != 0 {
            return Err("XGBoost cannot load the model".into());
        }
        let (mut major, mut minor, mut patch) = (0, 0, 0);
        version(&raw mut major, &raw mut minor, &raw mut patch);
        Ok(Box::new(XgbExplainer {
            name: format!("XGBoost {major}.{minor}.{patch}"),
            booster,
            config: CString::new(config).map_err(|error| error.to_string())?,
            features,
            create: create_matrix,
            predict,
            matrices: HashMap::new(),
            out: Vec::new(),
            _library: library,
        }))
    }
}

impl Peer for XgbExplainer {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn row(&mut self, row: &[f32]) -> &[f64] {
        self.batch(row)
    }

    fn batch(&mut self, rows: &[f32]) -> &[f64] {
        let (create, features) = (self.create, self.features);
        let matrix = *self
            .matrices
            .entry((rows.as_ptr() as usize, rows.len()))
            .or_insert_with(|| {
                let mut matrix = std::ptr::null_mut();
                // SAFETY: the interface describes rows that live until the call ends; the matrix copies them.
                let failed = unsafe {
                    create(
                        interface(rows, features).as_ptr(),
                        MATRIX.as_ptr(),
                        &raw mut matrix,
                    )
                };
                assert_eq!(failed, 0);
                matrix
            });
        let (mut shape, mut dimensions, mut result) = (std::ptr::null(), 0, std::ptr::null());
        // SAFETY: the answer lives until the next call.
        unsafe {
            let failed = (self.predict)(
                self.booster,
                matrix,
                self.config.as_ptr(),
                &raw mut shape,
                &raw mut dimensions,
                &raw mut result,
            );
            assert_eq!(failed, 0);
            let shape = std::slice::from_raw_parts(shape, dimensions as usize);
            let length: u64 = shape.iter().product();
            let answer = std::slice::from_raw_parts(result, length as usize);
            self.out.clear();
            self.out.extend(answer.iter().map(|part| f64::from(*part)));
        }
        &self.out
    }
}
