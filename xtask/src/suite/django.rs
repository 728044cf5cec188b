//! Django and its CORS package, to compare ours with: those that `bench/` measures, in the same versions.
use std::{env, fs, path::Path};

use super::{python, python::Environment, tools};

/// Names the Python that has them, for the tests.
pub(super) const DJANGO_PYTHON: &str = "BAILIWICK_TEST_DJANGO_PYTHON";
const REQUIREMENTS: &str = "bench/django/requirements.txt";

/// Finds a Python that has them, after installing what there is not.
///
/// # Errors
/// The one line to print when something is missing and cannot be installed.
pub(super) fn find(root: &Path) -> Result<String, String> {
    if let Some(chosen) = env::var(DJANGO_PYTHON).ok().filter(|program| !program.is_empty()) {
        return Ok(chosen);
    }
    tools::debian_packages(&|| python::lacking().into_iter().collect())?;
    let requirements =
        fs::read_to_string(root.join(REQUIREMENTS)).map_err(|error| format!("{REQUIREMENTS}: {error}"))?;
    let environment = Environment { name: "django", requirements: &requirements };
    environment.install()?;
    let python = environment.program("python").ok_or("missing: the Python of Django's environment")?;
    Ok(python.to_string_lossy().into_owned())
}
