"""A primary that dies under load and a standby that takes its place: nothing acknowledged is lost, and work goes on."""
