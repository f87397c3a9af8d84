use std::collections::BTreeSet;

/// One thing that a key may do. Compared exactly: `Admin` is an unknown scope, not `admin`.
///
/// Make it with [`Scope::parse`]; [`Scope::Other`] is for names that are none of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// `device`: open a device's socket, and act as that device.
    Device,
    /// `execute`: what the forge's older keys carry; opens a device's socket too.
    Execute,
    /// `admin`: an operator.
    Admin,
    /// `read`, of the forge's older keys.
    Read,
    /// `write`, of the forge's older keys.
    Write,
    /// A name that means nothing here and is kept as it stands.
    Other(String),
}

impl Scope {
    /// The scope of that name.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "device" => Self::Device,
            "execute" => Self::Execute,
            "admin" => Self::Admin,
            "read" => Self::Read,
            "write" => Self::Write,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Its name, as stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Device => "device",
            Self::Execute => "execute",
            Self::Admin => "admin",
            Self::Read => "read",
            Self::Write => "write",
            Self::Other(name) => name,
        }
    }
}

/// The scopes of one key, each once, in a fixed order.
///
/// ```
/// use askalf_bridge_auth::{Scope, Scopes};
///
/// let scopes = Scopes::parse(["write", "device", "device", "billing"]);
/// assert!(scopes.contains(&Scope::Device));
/// assert!(!scopes.contains(&Scope::Admin));
/// assert_eq!(scopes.iter().collect::<Vec<_>>(), ["device", "write", "billing"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// The set of the scopes so named. A row whose `scopes` is null has none.
    #[must_use]
    pub fn parse<I>(names: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        names
            .into_iter()
            .map(|name| Scope::parse(name.as_ref()))
            .collect()
    }

    /// Whether `scope` is among them.
    #[must_use]
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.contains(scope)
    }

    /// Their names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Scope::as_str)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_and_are_compared_exactly() {
        for name in [
            "device", "execute", "admin", "read", "write", "", "Admin", " admin",
        ] {
            assert_eq!(Scope::parse(name).as_str(), name);
        }
        assert!(!Scopes::parse(["Admin", " admin", "admin "]).contains(&Scope::Admin));
    }
}
