//! What is kept of answers and of what became of customers: the prediction log, outcomes, and the performance of models by
//! them.

mod handled;
pub mod outcomes;
pub mod performance;
pub mod prediction_log;
pub mod service;
