//! The runner with real files and real processes, and callers who mean harm.

#[cfg(test)]
mod capture;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod running;
