// Stands for modules that only declare types.
export {};
