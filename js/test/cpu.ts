/** Return the milliseconds of CPU that this process has used. Other processes do not change them. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
