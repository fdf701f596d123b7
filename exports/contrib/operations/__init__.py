"""Tools for those who run the site: doctor, health pages, metrics, and the download log as an export."""
