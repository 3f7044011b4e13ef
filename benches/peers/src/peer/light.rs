//! LightGBM through its C interface.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

use super::{Explanation, Peer};

type Handle = *mut c_void;
type Create = unsafe extern "C" fn(*const c_char, *mut c_int, *mut Handle) -> c_int;
type FastInit =
    unsafe extern "C" fn(Handle, c_int, c_int, c_int, c_int, i32, *const c_char, *mut Handle) -> c_int;
type Fast = unsafe extern "C" fn(Handle, *const c_void, *mut i64, *mut f64) -> c_int;
type Many = unsafe extern "C" fn(
    Handle,
    *const c_void,
    c_int,
    i32,
    i32,
    c_int,
    c_int,
    c_int,
    c_int,
    *const c_char,
    *mut i64,
    *mut f64,
) -> c_int;

const NORMAL: c_int = 0;
const CONTRIBUTIONS: c_int = 3;
const FLOAT64: c_int = 1;
const ONE_THREAD: &std::ffi::CStr = c"num_threads=1";

struct Light {
    booster: Handle,
    fast: Handle,
    predict_fast: Fast,
    predict_many: Many,
    kind: c_int,
    features: usize,
    input: Vec<f64>,
    out: Vec<f64>,
    _library: Library,
}

pub(super) fn load(model: &Path, features: usize) -> Result<Box<dyn Peer>, String> {
    of(model, features, NORMAL)
}

/// LightGBM, explaining rows.
pub(super) fn explainer(model: &Path, features: usize, kind: Explanation) -> Result<Box<dyn Peer>, String> {
    match kind {
        Explanation::Contributions => of(model, features, CONTRIBUTIONS),
        Explanation::Interactions => Err("LightGBM has no interactions".into()),
    }
}

fn of(model: &Path, features: usize, kind: c_int) -> Result<Box<dyn Peer>, String> {
    if !super::ends_with(model, ".txt") {
        return Err("not LightGBM's".into());
    }
    let path = super::library("LIGHTGBM_LIBRARY", "lightgbm", "lib/lib_lightgbm.so")?;
    let file = CString::new(model.to_string_lossy().as_bytes()).map_err(|error| error.to_string())?;
    let mut booster = std::ptr::null_mut();
    let mut fast = std::ptr::null_mut();
    // SAFETY: the signatures are those of LightGBM's c_api.h; the library stays loaded with the handles.
    unsafe {
        let library = Library::new(path).map_err(|error| error.to_string())?;
        let symbol = |error: libloading::Error| error.to_string();
        let create: Create = *library.get(b"LGBM_BoosterCreateFromModelfile").map_err(symbol)?;
        let init: FastInit = *library
            .get(b"LGBM_BoosterPredictForMatSingleRowFastInit")
            .map_err(symbol)?;
        let predict_fast: Fast = *library
            .get(b"LGBM_BoosterPredictForMatSingleRowFast")
            .map_err(symbol)?;
        let predict_many: Many = *library.get(b"LGBM_BoosterPredictForMat").map_err(symbol)?;
        let mut iterations = 0;
        if create(file.as_ptr(), &raw mut iterations, &raw mut booster) != 0 {
            return Err("LightGBM cannot load the model".into());
        }
        let columns = i32::try_from(features).map_err(|error| error.to_string())?;
        if init(
            booster,
            kind,
            0,
            -1,
            FLOAT64,
            columns,
            ONE_THREAD.as_ptr(),
            &raw mut fast,
        ) != 0
        {
            return Err("LightGBM has no fast way for this model".into());
        }
        Ok(Box::new(Light {
            booster,
            fast,
            predict_fast,
            predict_many,
            kind,
            features,
            input: Vec::new(),
            out: vec![0.0; 16 * (features + 1)],
            _library: library,
        }))
    }
}

impl Peer for Light {
    fn name(&self) -> String {
        "LightGBM".into()
    }

    fn row(&mut self, row: &[f32]) -> &[f64] {
        self.input.clear();
        self.input.extend(row.iter().map(|x| f64::from(*x)));
        let mut length = 0;
        // SAFETY: the row is as long as announced, and `out` is longer than what any model here gives.
        let failed = unsafe {
            (self.predict_fast)(
                self.fast,
                self.input.as_ptr().cast(),
                &raw mut length,
                self.out.as_mut_ptr(),
            )
        };
        assert_eq!(failed, 0);
        &self.out[..usize::try_from(length).expect("a length")]
    }

    fn batch(&mut self, rows: &[f32]) -> &[f64] {
        self.input.clear();
        self.input.extend(rows.iter().map(|x| f64::from(*x)));
        let count = rows.len() / self.features;
        self.out.resize(count.max(64) * 16.max(self.features + 1), 0.0);
        let mut length = 0;
        // SAFETY: the buffers are as long as announced; `out` is long enough for any model here.
        let failed = unsafe {
            (self.predict_many)(
                self.booster,
                self.input.as_ptr().cast(),
                FLOAT64,
                i32::try_from(count).expect("a count"),
                i32::try_from(self.features).expect("a count"),
                1,
                self.kind,
                0,
                -1,
                ONE_THREAD.as_ptr(),
                &raw mut length,
                self.out.as_mut_ptr(),
            )
        };
        assert_eq!(failed, 0);
        &self.out[..usize::try_from(length).expect("a length")]
    }
}
