//! `users`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Users {
    /// Add a user
    Add {
        /// Its id, as --user names it
        id: String,
        /// Its e-mail address
        #[arg(long)]
        email: String,
        /// Its tenant, made where there is none of that id; needed where several exist
        #[arg(long)]
        tenant: Option<String>,
        /// What people call it
        #[arg(long = "name", value_name = "NAME")]
        display_name: Option<String>,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the users by id
    List {
        /// At most so many
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
}
