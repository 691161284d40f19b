"""What the command line does around a fit: tables read from CSV, and results left as files."""
