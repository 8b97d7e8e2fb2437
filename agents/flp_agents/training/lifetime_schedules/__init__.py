"""Lifetime schedules: which lifetimes each outer step runs through.

One file for each; ``lifetime_schedule`` says what one is and has their registry, which finds every file of this
package. It imports what `training` may.
"""
